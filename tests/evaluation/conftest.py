"""Bundles to evaluate: a small one with three heads, made in seconds, and the FER2013 network's."""

import numpy as np
import onnx
import pytest

import edgefer
from tests.evaluation.tiny import SPEC, faces, network


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A bundle with three heads."""
    folder = tmp_path_factory.mktemp("tiny")
    onnx.save(network(), folder / "tiny.onnx")
    np.savez(folder / "calibration.npz", images=faces(40, seed=9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(folder / "home"))
        return edgefer.convert(
            folder / "tiny.onnx", folder / "bundle", spec=SPEC, calibration=folder / "calibration.npz"
        )


@pytest.fixture
def save(tmp_path):
    """Writes an image set of `faces` with further arrays, and returns its path."""

    def write(count=60, **arrays):
        path = tmp_path / "faces.npz"
        np.savez(path, images=faces(count), **arrays)
        return path

    return write


@pytest.fixture(scope="session")
def fer_b0(converted_fer_b0):
    """A bundle of the network trained on FER2013."""
    return converted_fer_b0[0]
