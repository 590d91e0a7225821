"""Detached signatures, made and checked by OpenSSH: the keys people have, agents and hardware tokens included.

    ssh-keygen -Y sign -f KEY -n edgefer.package app.zip

makes the same `app.zip.sig`, and who receives it can check it with `ssh-keygen -Y verify`, without edgefer.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgefer.errors import InputError, UsageError
from edgefer.host.text import printable

NAMESPACE = "edgefer.package"
"""What a signature is for: one made for something else does not pass."""

_SIGNER = "signer"
_ARMOR = b"-----BEGIN SSH SIGNATURE-----"
_TIMEOUT_S = 120.0  # a token waits for a touch, a key for its passphrase


def sign(data: bytes, key: Path) -> bytes:
    """The signature of `data`, armored as text.

    Args:
        data: what is signed.
        key: private key file, or a public one whose private part the agent holds.

    Raises:
        UsageError: there is no such key, or OpenSSH is missing or refuses it.
    """
    if not key.is_file():
        raise UsageError(f"{key}: no such key", remedy="Make one: ssh-keygen -t ed25519 -f signing_key")
    signed = _ssh_keygen(["-Y", "sign", "-f", str(key.absolute()), "-n", NAMESPACE], data)
    if signed.returncode:
        raise UsageError(f"{key}: cannot sign: {_last_line(signed.stderr)}")
    return signed.stdout


def check_signature(data: bytes, signature: bytes, key: Path, where: str) -> None:
    """Make sure that the owner of `key` signed `data`.

    Args:
        data: what was signed.
        signature: as `sign` gives it.
        key: the signer's public key, `ssh-ed25519 AAAA...`.
        where: what was signed, for errors.

    Raises:
        InputError: the signature is damaged, of other data, or of another key.
        UsageError: `key` is no public key, or OpenSSH is missing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        signers, armored = Path(scratch, "signers"), Path(scratch, "signature")
        signers.write_text(f'{_SIGNER} namespaces="{NAMESPACE}" {_public_key(key)}\n', "utf-8")
        armored.write_bytes(signature)
        checked = _ssh_keygen(
            ["-Y", "verify", "-f", str(signers), "-I", _SIGNER, "-n", NAMESPACE, "-s", str(armored)], data
        )
    if checked.returncode:
        raise InputError(
            f"{where}: not signed by the owner of {key}: {_last_line(checked.stderr or checked.stdout)}",
            remedy="Do not use it; ask its maker which key signs.",
        )


def is_signature(path: Path) -> bool:
    """Whether a file looks like a signature."""
    with path.open("rb") as file:
        return file.read(len(_ARMOR)) == _ARMOR


def _public_key(key: Path) -> str:
    try:
        fields = key.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key}: cannot be read: {error}") from error
    if len(fields) < 2 or not fields[0].startswith(("ssh-", "sk-", "ecdsa-")):
        raise UsageError(
            f"{key}: not a public key of OpenSSH", remedy="It ends with .pub, and starts with ssh-ed25519."
        )
    return " ".join(fields[:2])


def _ssh_keygen(arguments: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments], input=data, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise UsageError(
            f"ssh-keygen cannot be started: {error.strerror}", remedy="Install OpenSSH's client, 8.2 or newer."
        ) from error
    except subprocess.TimeoutExpired:
        raise UsageError(f"ssh-keygen gave no answer in {_TIMEOUT_S:g} s") from None


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1]) if lines else "no reason given"
