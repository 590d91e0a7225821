import pytest

from edgefer.host.files import replacing, write_whole


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"one")
    write_whole(path, "zwei\N{LATIN SMALL LETTER U WITH DIAERESIS}")
    assert [(each.name, each.read_text("utf-8")) for each in tmp_path.iterdir()] == [("file", "zweiü")]


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as scratch:
        scratch.write_bytes(b"half of the n")
        raise KeyboardInterrupt
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_files_are_as_readable_as_others_that_the_user_makes(tmp_path):
    write_whole(tmp_path / "file", b"")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
