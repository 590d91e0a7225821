from pathlib import Path

import numpy as np
import pytest

from edgefer.conversion.calibration import calibration_images, set_names
from edgefer.errors import InputError, UsageError
from edgefer.graph.builder import GraphBuilder
from edgefer.host.progress import SILENT
from edgefer.host.resources import bundled_directory, bundled_networks
from edgefer.networks.network import Network, Source
from edgefer.spec import InputSpec, OutputSpec, Spec
from tests.conversion.files import write_faces


def network(name="tiny", path=Path("tiny.onnx")):
    build = GraphBuilder(name)
    x = build.input("image", (1, 3, 16, 16))
    graph = build.graph(build.conv("conv", x, np.ones((2, 3, 16, 16), np.float32)))
    spec = Spec(InputSpec((16, 16), (0.5,) * 3, (0.5,) * 3), (OutputSpec("mood", "expression", ("sad", "happy")),))
    return Network(name, "test", graph, spec, Source(path))


def test_images_are_divided_into_two_disjoint_parts(tmp_path):
    images = calibration_images(write_faces(tmp_path / "faces", 30), network(), 512, SILENT)
    assert (len(images.calibration), len(images.held_back)) == (24, 6)
    assert not set(images.calibration.digests) & set(images.held_back.digests)
    assert images.source == "faces"


def test_at_most_so_many_samples_are_calibrated_on(tmp_path):
    images = calibration_images(write_faces(tmp_path / "faces", 30), network(), 5, SILENT)
    assert (len(images.calibration), len(images.held_back)) == (5, 6)


def test_copies_of_one_image_are_one_image(tmp_path):
    folder = write_faces(tmp_path / "faces", 1)
    (folder / "copy.png").write_bytes((folder / "000.png").read_bytes())
    with pytest.raises(InputError, match="one image is too few"):
        calibration_images(folder, network(), 512, SILENT)


def test_a_network_without_a_set_of_its_own_needs_a_choice():
    with pytest.raises(UsageError, match="no calibration images for 'tiny'") as caught:
        calibration_images(None, network(), 512, SILENT)
    assert "--calibration" in caught.value.remedy


def test_bundled_sets_are_known_by_name():
    if "fer_b0_synthetic" not in set_names():
        pytest.skip("the bundled network's synthetic set is not made yet")
    images = calibration_images(None, network("fer_b0", bundled_networks()["fer_b0"]), 512, SILENT)
    again = calibration_images("fer_b0_synthetic", network(), 512, SILENT)
    assert images.source == again.source == "fer_b0_synthetic"
    assert images.calibration.sha256 == again.calibration.sha256
    assert not set(images.calibration.digests) & set(images.held_back.digests)


def test_another_network_of_a_bundled_ones_name_does_not_get_its_set():
    with pytest.raises(UsageError, match="no calibration images for 'fer_b0'"):
        calibration_images(None, network("fer_b0", Path("mine/fer_b0.pt")), 512, SILENT)


def test_names_of_sets_are_those_of_folders():
    assert set(set_names()) == {path.parent.name for path in bundled_directory("calibration").glob("*/README.md")}


def test_a_folder_of_the_users_wins_over_a_set_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "fer_b0_synthetic", 10)
    assert len(calibration_images("fer_b0_synthetic", network(), 512, SILENT).calibration) == 8


def test_samples_count_for_bundled_sets_too():
    if "fer_b0_synthetic" not in set_names():
        pytest.skip("the bundled network's synthetic set is not made yet")
    assert len(calibration_images("fer_b0_synthetic", network(), 10, SILENT).calibration) == 10
