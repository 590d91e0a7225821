"""onnxruntime-web for the demo page: fetched once by npm, pinned by its hash, and kept in the user's cache.

It is 14 MB of WebAssembly, which those who never make a demo should not have to install.
"""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path

from edgefer.errors import EdgeferError, InputError, UsageError
from edgefer.host.directories import cache_directory
from edgefer.host.text import printable
from edgefer.packaging.sbom import Library

NAME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the npm package's tarball, as a package-lock.json states it."""

_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
_TIMEOUT_S = 600.0


def browser_runtime() -> Library:
    """What the page needs of onnxruntime-web, WebAssembly only, with its licence.

    Raises:
        UsageError: it is not in the cache, and npm is missing.
        EdgeferError: npm cannot fetch it, because there is no network, for one.
        InputError: what npm fetched is not what edgefer was tested with.
    """
    kept = cache_directory() / f"{NAME}-{VERSION}.tgz"
    tarball = kept.read_bytes() if kept.is_file() else b""
    if not _is_intact(tarball):
        tarball = _fetch(kept)
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        contents = {}
        for name in _FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None, name
            contents[f"browser/onnxruntime-web/{name}"] = member.read()
    contents["browser/onnxruntime-web/LICENSE"] = files(__package__).joinpath("onnxruntime-web.LICENSE").read_bytes()
    return Library(NAME, VERSION, f"pkg:npm/{NAME}@{VERSION}", "MIT", contents)


def _is_intact(tarball: bytes) -> bool:
    return f"sha512-{base64.b64encode(hashlib.sha512(tarball).digest()).decode()}" == INTEGRITY


def _fetch(kept: Path) -> bytes:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        command = ["npm", "pack", "--silent", f"{NAME}@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=scratch, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except OSError as error:
            raise UsageError(
                f"the demo page needs {NAME}, and npm, which fetches it, cannot be started: {error.strerror}",
                remedy=_remedy(kept),
            ) from error
        except subprocess.TimeoutExpired:
            raise EdgeferError(f"npm gave no answer in {_TIMEOUT_S:g} s", remedy=_remedy(kept)) from None
        fetched = Path(scratch, kept.name)
        if done.returncode or not fetched.is_file():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise EdgeferError(
                f"npm cannot fetch {NAME} {VERSION}: {printable(said[-1]) if said else 'no reason given'}",
                remedy=_remedy(kept),
            )
        tarball = fetched.read_bytes()
        if not _is_intact(tarball):
            raise InputError(
                f"{fetched.name}: is not the {NAME} {VERSION} that edgefer was tested with: its SHA-512 differs",
                remedy="Look at which registry npm is set up to use.",
            )
        fetched.replace(kept)
    return tarball


def _remedy(kept: Path) -> str:
    return (
        "Once with a network and npm (it comes with Node.js) is enough: it is kept.\n"
        f"  Or fetch it elsewhere with `npm pack {NAME}@{VERSION}` and put it at {kept}.\n"
        "  Or leave --browser-demo out."
    )
