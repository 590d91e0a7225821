"""Committed tables name the version and the sources that they were measured with."""

import pytest

from benchmarks.measured import RESULTS, ROOT, changed, digest, read, signed, version

TABLES = sorted(RESULTS.glob("*.md"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_no_table_is_of_another_version_than_the_code(path):
    measured = read(path.read_text("utf-8"))
    assert measured is not None, "sign it: see benchmarks/measured.py"
    assert measured.version == version(), "measure it again before this version is released"
    assert all((ROOT / "edgefer" / room).is_dir() for room in measured.rooms)


def test_every_script_that_writes_a_table_signs_it():
    scripts = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").glob("*/__main__.py")]
    texts = [path.read_text("utf-8") for path in scripts]
    signing = [text for text in texts if "signed(" in text or "from benchmarks.tables import" in text]
    assert [table.name for table in TABLES if not any(table.name in text for text in signing)] == []


def test_a_table_whose_sources_changed_is_listed(tmp_path):
    table = signed("# Title\n\n| a |\n", "gates", "device")
    assert read(table).rooms == ("device", "gates")
    assert table.startswith("# Title\n\n| a |\n\nMeasured with edgefer ")
    (tmp_path / "same.md").write_text(table)
    assert list(changed(tmp_path)) == []
    room = tmp_path / "edgefer" / "gates"
    room.mkdir(parents=True)
    (room / "a.py").write_text("a = 1")
    assert list(changed(tmp_path, tmp_path)) == [("same.md", "edgefer/{device,gates} changed since")]
    (tmp_path / "same.md").write_text(table.replace(version(), "0.0.1"))
    (tmp_path / "silent.md").write_text("| a |")
    assert [why for _, why in changed(tmp_path)] == ["is of edgefer 0.0.1", "does not say what it was measured with"]


def test_names_and_contents_count(tmp_path):
    room = tmp_path / "edgefer" / "gates"
    room.mkdir(parents=True)
    found = set()
    for name, text in (("a.py", "x"), ("a.py", "y"), ("b.py", "y")):
        (room / name).write_text(text)
        found.add(digest(["gates"], tmp_path))
    assert len(found) == 3
    (room / "notes.txt").write_text("no code")
    assert digest(["gates"], tmp_path) in found
