"""The network trained on FER2013, in the three forms that it comes in, converted and judged on unseen faces."""

import os
import subprocess
import sys

import numpy as np
import pytest

from edgefer.images import open_images
from tests.networks.artifacts import assert_same_weights, choices, onnx_weights

FILES = ("fer_b0.pt", "fer_b0_module.pt", "fer_b0.onnx")
BUDGET = 5_200_000
FIFTH_OF_ONNX2TF = 340_000_000
"""Bytes of memory: onnx2tf's full int8 conversion of the same network takes 1.7 GB."""

MEASURED = r"""
import pathlib, re, sys, edgefer
edgefer.convert(sys.argv[1], sys.argv[2], calibration=sys.argv[3], samples=int(sys.argv[4]))
status = pathlib.Path("/proc/self/status").read_text()  # getrusage would count what the parent had when it forked
print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024)
"""


@pytest.fixture(scope="session")
def fer_b0(shared, convert):
    return convert(
        shared / "models" / FILES[0], "fer_b0", calibration=shared / "data" / "fer2013_calibration.npz", budget=BUDGET
    )


@pytest.fixture(scope="session")
def forms(shared, convert):
    calibration = shared / "data" / "fer2013_calibration.npz"
    return [convert(shared / "models" / file, file, calibration=calibration, samples=7) for file in FILES]


def test_the_state_dict_the_pickled_module_and_the_onnx_file_give_the_same_weights(forms):
    """But for a few between two steps: the norms of the ONNX file were folded in another order."""
    first, *others = (list(onnx_weights(bundle.artifact("onnx")).values()) for bundle in forms)
    assert sum(array.size for array in first) > 3_900_000
    for other in others:
        assert len(other) == len(first)
        for left, right in zip(first, other, strict=True):
            np.testing.assert_allclose(left, right, rtol=0, atol=1)
        differing = sum(np.count_nonzero(left != right) for left, right in zip(first, other, strict=True))
        assert differing < 1e-4 * sum(array.size for array in first)


def test_the_network_computes_the_same_from_all_forms(forms, shared):
    images = open_images(shared / "data" / "fer2013_calibration.npz").select(range(0, 490, 70))
    first, *others = (choices(bundle, images, "expression")["float"] for bundle in forms)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_both_artifacts_hold_the_same_integers(forms):
    for bundle in forms:
        assert_same_weights(bundle)


def test_artifacts_are_within_the_budget_and_int8_throughout(fer_b0):
    assert not fer_b0.over_budget
    for artifact in fer_b0.artifacts:
        if artifact.precision == "int8":
            assert artifact.bytes < BUDGET
            assert artifact.ops["float"] <= 6
            assert artifact.ops["int8"] > 200
    assert not fer_b0.manifest["quantization"]["undelegated"]


def test_artifacts_agree_with_fp32_and_with_each_other_on_unseen_faces(fer_b0, shared):
    chosen = choices(fer_b0, open_images(shared / "data" / "fer2013_public.npz"), "expression")
    assert len(chosen["float"]) == 3589
    for format in ("tflite", "onnx"):
        assert np.mean(chosen[format] == chosen["float"]) >= 0.87
    assert np.mean(chosen["tflite"] == chosen["onnx"]) >= 0.99


def test_memory_does_not_grow_with_the_number_of_images(shared, tmp_path):
    peaks = {}
    for samples in (128, 390):
        command = [sys.executable, "-c", MEASURED, shared / "models" / FILES[0], tmp_path / "out"]
        command += [shared / "data" / "fer2013_calibration.npz", str(samples)]
        home = {**os.environ, "EDGEFER_HOME": str(tmp_path / str(samples)), "OMP_NUM_THREADS": "1"}
        peaks[samples] = int(subprocess.run(command, env=home, check=True, capture_output=True, text=True).stdout)
    assert peaks[390] < 1.1 * peaks[128]
    assert peaks[390] < FIFTH_OF_ONNX2TF
