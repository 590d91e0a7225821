"""`verify`: a package is what its maker wrote, down to the byte, before anyone unpacks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgefer.errors import InputError
from edgefer.host.units import format_size
from edgefer.packaging.archive import read_archive
from edgefer.packaging.signature import check_signature

SUMS = "SHA256SUMS"
MAX_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Verification:
    """A package that held.

    Attributes:
        file: its path.
        bytes: its size.
        sha256: hex digest of the whole archive.
        files: bytes by path inside.
        signed: whether a signature was checked, and held.
    """

    file: str
    bytes: int
    sha256: str
    files: Mapping[str, int]
    signed: bool

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.verification/1`."""
        return {"schema": "edgefer.verification/1", **asdict(self)}


def verify(path: str | Path, *, key: str | Path | None = None, signature: str | Path | None = None) -> Verification:
    """Make sure that a package is whole, unaltered, safe to unpack, and signed by `key` where that is given.

    Args:
        path: the zip.
        key: public key of its maker; without it only damage is found, since a forger can compute sums too.
        signature: the detached signature; `path` with `.sig` behind it by default.

    Raises:
        InputError: a byte differs, an entry could do harm, or the signature is missing or not by `key`.
        UsageError: `key` is no public key, or OpenSSH is missing.
    """
    path = Path(path)
    data = _read(path)
    if key is not None:
        armored = Path(signature) if signature is not None else signature_path(path)
        check_signature(data, _read(armored), Path(key), str(path))
    files = read_archive(data, str(path))
    _check_sums(files, path)
    sizes = {name: len(content) for name, content in files.items()}
    return Verification(str(path), len(data), sha256(data).hexdigest(), sizes, signed=key is not None)


def signature_path(path: Path) -> Path:
    """Where the signature of a package lies."""
    return path.with_name(f"{path.name}.sig")


def sums(files: Mapping[str, bytes]) -> bytes:
    """What SHA256SUMS holds; `sha256sum --check` reads it."""
    return "".join(f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: is larger than any package: over {format_size(MAX_BYTES)}")
    return data


def _check_sums(files: Mapping[str, bytes], path: Path) -> None:
    contents = {name: content for name, content in files.items() if name != SUMS}
    if SUMS not in files:
        raise InputError(f"{path}: no package of edgefer: it has no {SUMS}")
    if files[SUMS] != sums(contents):
        raise InputError(f"{path}: altered: its files differ from {SUMS}", remedy="Fetch it again.")
