"""Weights in files of their own: read where the user's file lies, through a hub's links, and nowhere else."""

import os

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefer.errors import InputError
from edgefer.onnx_import import read_onnx
from tests.graph.networks import numbers
from tests.onnx_import.models import model

WEIGHTS = numbers(2, 3, 3, 3)


def save(path, location, **place):
    """A network whose weights are at `location`, with nothing there yet."""
    network = model("y = Conv(x, w)", {"w": WEIGHTS})
    (tensor,) = network.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **place}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(network.SerializeToString())
    return path


def read(path):
    return read_onnx(path).graph.constants["w"]


def test_one_file_for_each_tensor(tmp_path):
    network = model("a = Conv(x, w)\ny = Conv(a, v)", {"w": WEIGHTS, "v": numbers(4, 2, 1, 1)})
    path = tmp_path / "net.onnx"
    onnx.save(network, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    assert {"w", "v"} < {file.name for file in tmp_path.iterdir()}
    constants = read_onnx(path).graph.constants
    np.testing.assert_array_equal(constants["w"], WEIGHTS)
    np.testing.assert_array_equal(constants["v"], numbers(4, 2, 1, 1))


def test_a_place_in_a_file_of_a_folder_below(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "all").write_bytes(b"\0" * 64 + WEIGHTS.tobytes() + b"more")
    np.testing.assert_array_equal(read(save(tmp_path / "net.onnx", "weights/all", offset=64)), WEIGHTS)


def test_a_hubs_cache_of_links_is_followed(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    save(blobs / "1a2b", "net.onnx_data")
    (blobs / "3c4d").write_bytes(WEIGHTS.tobytes())
    (snapshot / "net.onnx").symlink_to("../../../blobs/1a2b")
    (snapshot / "net.onnx_data").symlink_to("../../../blobs/3c4d")
    np.testing.assert_array_equal(read(snapshot / "net.onnx"), WEIGHTS)


def test_hard_links_are_files(tmp_path):
    (tmp_path / "blob").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "data").hardlink_to(tmp_path / "blob")
    np.testing.assert_array_equal(read(save(tmp_path / "net.onnx", "data")), WEIGHTS)


@pytest.mark.parametrize("location", ["../secret", "weights/../../secret", "..\\secret", "", "C:\\secret", "ABSOLUTE"])
def test_a_file_elsewhere_is_not_read(tmp_path, location):
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "own" / "weights").mkdir(parents=True)
    path = save(tmp_path / "own" / "net.onnx", location.replace("ABSOLUTE", str(tmp_path / "secret")))
    with pytest.raises(InputError, match=r"net\.onnx: it says that its weights are in .* outside its directory"):
        read_onnx(path)


@pytest.mark.parametrize("place", ["link", "folder/secret"])
def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path, place):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to("../elsewhere/secret")
    (tmp_path / "own" / "folder").symlink_to("../elsewhere")
    with pytest.raises(InputError, match="outside its directory") as raised:
        read_onnx(save(tmp_path / "own" / "net.onnx", place))
    assert "into one directory" in raised.value.remedy


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "loop", "NUL"])
def test_what_is_no_file_is_refused_by_name(tmp_path, kind):
    if kind == "folder":
        (tmp_path / kind).mkdir()
    elif kind == "pipe":
        os.mkfifo(tmp_path / kind)
    elif kind == "loop":
        (tmp_path / kind).symlink_to(kind)
    with pytest.raises(InputError, match=r"net\.onnx: its weights in '.*' cannot be (read|found)"):
        read_onnx(save(tmp_path / "net.onnx", "a\0b" if kind == "NUL" else kind))


@pytest.mark.parametrize(("offset", "message"), [("4", "are cut off"), ("10**20", "is damaged"), ("-1", "is damaged")])
def test_a_place_that_the_file_does_not_have_is_an_error(tmp_path, offset, message):
    (tmp_path / "data").write_bytes(WEIGHTS.tobytes())
    with pytest.raises(InputError, match=message):
        read_onnx(save(tmp_path / "net.onnx", "data", offset=offset))


def test_a_tensor_that_claims_more_than_its_file_takes_no_memory(tmp_path):
    path = save(tmp_path / "net.onnx", "data")
    (tmp_path / "data").write_bytes(WEIGHTS.tobytes())
    network = onnx.load(path, load_external_data=False)
    network.graph.initializer[0].dims[0] = 10**7
    path.write_bytes(network.SerializeToString())
    with pytest.raises(InputError, match="are cut off"):
        read_onnx(path)
    network.graph.initializer[0].dims[0] = 10**15
    path.write_bytes(network.SerializeToString())
    with pytest.raises(InputError, match="over 2 GB"):
        read_onnx(path)


def test_constants_inside_nodes_and_functions_lie_outside_too(tmp_path):
    network = model("y = Mul(x, c)")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(WEIGHTS[:1, :, :1, :1], "c"))
    network.graph.node.insert(0, constant)
    tensor = network.graph.node[0].attribute[0].t
    onnx.external_data_helper.set_external_data(tensor, "data")
    tensor.ClearField("raw_data")
    (tmp_path / "data").write_bytes(WEIGHTS[:1, :, :1, :1].tobytes())
    (tmp_path / "net.onnx").write_bytes(network.SerializeToString())
    np.testing.assert_array_equal(read_onnx(tmp_path / "net.onnx").graph.constants["c"], WEIGHTS[:1, :, :1, :1])
