"""Archives are written one way, and read back only if they were."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.packaging.archive import read_archive, write_archive

FILES = {"README.md": b"what it is\n", "models/net.tflite": bytes(range(256)), "empty": b""}

paths = st.lists(st.text("abcdefgh_.é", min_size=1, max_size=6).filter(lambda p: p not in (".", "..")), min_size=1).map(
    "/".join
)


def zipped(name="file", content=b"content", *, mode=0o100644, method=zipfile.ZIP_STORED, twice=False):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr, entry.compress_type = 3, mode << 16, method
        archive.writestr(entry, content)
        if twice:
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(entry, content)
    return buffer.getvalue()


@given(st.dictionaries(paths, st.binary(max_size=50), max_size=5))
def test_what_is_written_is_read_back(files):
    archive = write_archive(files)
    assert read_archive(archive, "a.zip") == files
    assert write_archive(files) == archive


def test_other_tools_can_unpack_it():
    with zipfile.ZipFile(io.BytesIO(write_archive(FILES))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


@given(st.data())
def test_a_changed_byte_anywhere_is_noticed(data):
    archive = bytearray(write_archive(FILES))
    archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError):
        read_archive(bytes(archive), "a.zip")


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: write_archive(FILES)[:-30] + tail))
def test_anything_else_is_refused_in_a_sentence(data):
    with pytest.raises(InputError, match=r"a\.zip: "):
        read_archive(data, "a.zip")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../evil", "..\\evil", "C:/evil"])
def test_a_path_that_leads_outside_is_refused(name):
    with pytest.raises(InputError, match="leads out of the directory"):
        read_archive(zipped(name), "a.zip")


def test_a_symbolic_link_is_refused():
    with pytest.raises(InputError, match="link: is a symbolic link"):
        read_archive(zipped("link", b"/etc/passwd", mode=0o120777), "a.zip")


def test_a_decompression_bomb_is_refused_before_it_is_read():
    bomb = zipped("bomb", bytes(50_000_000), method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match="bomb: is compressed"):
        read_archive(bomb, "a.zip")


def test_entries_that_share_their_bytes_are_refused():
    one = zipped("a", bytes(1000))
    directory = one.index(b"PK\1\2")
    entry = one[directory : one.index(b"PK\5\6")]
    end = bytearray(one[one.index(b"PK\5\6") :])
    end[8:12] = (50).to_bytes(2, "little") * 2
    end[12:16] = (50 * len(entry)).to_bytes(4, "little")
    with pytest.raises(InputError, match="claim to be larger than it is"):
        read_archive(one[:directory] + entry * 50 + bytes(end), "a.zip")


@pytest.mark.parametrize(
    "archive",
    [
        zipped(twice=True),
        zipped("folder/", b"", mode=0o040755),
        zipped("./file"),
        zipped("fi\x1ble"),
        zipped(mode=0o100755),
        b"#!/bin/sh\n" + zipped(),
        zipped() + b"more",
        zipped()[:-2] + b"\x03\x00you",
    ],
    ids=["twice", "folder", "dotted", "control", "executable", "before", "behind", "comment"],
)
def test_what_edgefer_does_not_write_is_refused(archive):
    with pytest.raises(InputError):
        read_archive(archive, "a.zip")


def test_the_plain_case_of_these_is_read():
    assert read_archive(zipped(), "a.zip") == {"file": b"content"}
