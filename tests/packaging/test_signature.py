"""Signatures by OpenSSH: made, checked, and refused."""

import os
import subprocess

import pytest

from edgefer.errors import InputError, UsageError
from edgefer.packaging.signature import check_signature, sign

DATA = b"a package"


def test_a_signature_holds_for_its_key_and_data(keys):
    signature = sign(DATA, keys / "maker")
    check_signature(DATA, signature, keys / "maker.pub", "app.zip")
    assert sign(DATA, keys / "maker") == signature


def test_openssh_alone_can_check_it(keys):
    (keys / "app.zip.sig").write_bytes(sign(DATA, keys / "maker"))
    (keys / "signers").write_text(f"maker {(keys / 'maker.pub').read_text()}")
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "signers",
        "-I",
        "maker",
        "-n",
        "edgefer.package",
        "-s",
        "app.zip.sig",
    ]
    subprocess.run(command, cwd=keys, input=DATA, check=True, capture_output=True)


def test_another_key_is_refused(keys):
    with pytest.raises(InputError, match=r"app\.zip: not signed by the owner of .*other\.pub"):
        check_signature(DATA, sign(DATA, keys / "maker"), keys / "other.pub", "app.zip")


def test_other_data_are_refused(keys):
    with pytest.raises(InputError, match="not signed by"):
        check_signature(DATA + b"!", sign(DATA, keys / "maker"), keys / "maker.pub", "app.zip")


def test_a_signature_for_another_purpose_is_refused(keys):
    command = ["ssh-keygen", "-Y", "sign", "-f", keys / "maker", "-n", "file"]
    signature = subprocess.run(command, input=DATA, check=True, capture_output=True).stdout
    with pytest.raises(InputError, match="not signed by"):
        check_signature(DATA, signature, keys / "maker.pub", "app.zip")


@pytest.mark.parametrize(
    "signature", [b"", b"\0\xff", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"]
)
def test_a_damaged_signature_is_refused(keys, signature):
    with pytest.raises(InputError, match="not signed by"):
        check_signature(DATA, signature, keys / "maker.pub", "app.zip")


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(UsageError, match="absent: no such key"):
        sign(DATA, tmp_path / "absent")


def test_a_private_key_is_not_taken_for_a_public_one(keys):
    with pytest.raises(UsageError, match="not a public key"):
        check_signature(DATA, sign(DATA, keys / "maker"), keys / "maker", "app.zip")


def test_more_than_one_line_cannot_be_smuggled_in_as_a_key(keys):
    fields = (keys / "maker.pub").read_text().split()
    (keys / "two.pub").write_text(f"{(keys / 'other.pub').read_text().strip()}\nsigner {fields[0]} {fields[1]}\n")
    with pytest.raises(InputError, match="not signed by"):
        check_signature(DATA, sign(DATA, keys / "maker"), keys / "two.pub", "app.zip")


def test_a_missing_openssh_is_said(keys, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UsageError, match="ssh-keygen cannot be started"):
        sign(DATA, keys / "maker")
