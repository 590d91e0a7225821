"""Small networks that once did not convert: the float reference is the original, and both artifacts are like it."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from edgefer.conversion.convert import convert
from edgefer.evaluation.metrics import before_activation, sqnr_db
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.runtime.runners import open_runner


def planes(pixels, spec):
    mean, std = (np.asarray(each, np.float32) for each in (spec.mean, spec.std))
    return ((pixels.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[np.newaxis]


def gray(pixels, spec):
    return planes(pixels.astype(np.float32) @ np.float32([[0.299], [0.587], [0.114]]), spec)


CASES = {
    "expand": planes,
    "folded_pads": planes,
    "foreign_labels": planes,
    "gray": gray,
    "instance_norm": planes,
    "l2_normalize": planes,
    "layernorm_erf": planes,
    "logsoftmax": planes,
    "lstm_op": planes,
    "nhwc_uint8": lambda pixels, spec: pixels[np.newaxis],
    "opset20_gelu": planes,
    "opset20_gridsample": planes,
    "prelu_differs": planes,
    "shared_branch": planes,
    "shared_conv_weights": planes,
}
"""How a user feeds each network."""

COARSE = {"expand": 18, "folded_pads": 18, "opset20_gelu": 18}
"""SQNR in dB where random weights lose more in int8 than 30 dB allow."""

IMAGES = 48


def probabilities(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@pytest.fixture
def faces(shared):
    return open_images(shared / "data" / "fer2013_calibration.npz").select(range(IMAGES))


@pytest.mark.parametrize("case", CASES)
def test_a_case_converts_to_what_its_network_computes(case, shared, faces, tmp_path):
    script = shared / "cases" / f"{case}.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, cwd=tmp_path)
    original = tmp_path / f"{case}.onnx"
    bundle = convert(
        original, tmp_path / "out", calibration=shared / "data" / "fer2013_calibration.npz", samples=IMAGES
    )
    head = bundle.spec.outputs[0]
    session = onnxruntime.InferenceSession(original.read_bytes())
    runs = {
        name: open_runner(bundle.artifact(*name.split()), name.split()[0])
        for name in ("onnx float32", "onnx int8", "tflite int8")
    }
    expected, found = [], {name: [] for name in runs}
    for pixels in iter_pixels(faces, bundle.spec.input):
        (logits,) = session.run(None, {session.get_inputs()[0].name: CASES[case](pixels, bundle.spec.input)})
        expected.append(probabilities(logits[0]) if head.activation == "softmax" else logits[0])
        for name, run in runs.items():
            found[name].append(run(pixels)[head.name])
    np.testing.assert_allclose(found["onnx float32"], expected, 1e-4, 1e-5)
    logits, *others = (before_activation(np.stack(each), head.activation) for each in (expected, *found.values()))
    assert all(sqnr_db(logits, other) > COARSE.get(case, 30) for other in others)
