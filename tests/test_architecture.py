"""The code keeps to docs/architecture.md: floors of rooms, names, sizes."""

import ast
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ROLES = {"results", "summary"}
PAGES = {"cli", "report"}
"""Rooms that show what other rooms do, each verb in a module of its name."""
LONGEST = 500
SENT_AS_ONE_FILE = "edgefer.device.agent"


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in (ROOT / "edgefer").rglob("*.py") if "samples" not in path.parts}


def imported(path):
    """Modules of edgefer that a module imports, anywhere in it but for types alone."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "edgefer")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edgefer":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


IMPORTS = {name: set(imported(path)) - {name} for name, path in MODULES.items()}


def floors(title):
    """By room, how high it lies."""
    listed = re.search(rf"^```{title}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1].strip().splitlines()
    return {room: height for height, line in enumerate(reversed(listed)) for room in line.split(", ")}


def room_of(module, parent):
    """The part of `module`'s name below `parent`; None outside it, and for its face."""
    rest = module.removeprefix(f"{parent}.")
    return rest.split(".")[0] if rest != module else None


@pytest.mark.parametrize(("title", "parent"), [("floors", "edgefer"), ("floors of quantize", "edgefer.quantize")])
def test_a_room_imports_only_from_floors_below_its_own(title, parent):
    heights = floors(title)
    rooms = {name: room_of(name, parent) for name in MODULES}
    assert set(heights) == {room for room in rooms.values() if room} - {"__main__"}
    upward = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        if rooms[name] in heights
        for other in others
        if rooms.get(other) and rooms[other] != rooms[name] and heights[rooms[other]] >= heights[rooms[name]]
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    inner = {name: others - {"edgefer"} for name, others in IMPORTS.items() if name != "edgefer"}
    try:
        assert set(TopologicalSorter(inner).static_order()) == inner.keys()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_modules_share_a_name_only_where_they_share_a_role():
    places = defaultdict(list)
    for name in MODULES:
        *room, stem = name.removeprefix("edgefer.").split(".")
        if not stem.startswith("_") and MODULES[name].name != "__init__.py":
            places[stem].append(room[0] if room else "")
    shared = {
        stem: rooms
        for stem, rooms in places.items()
        if stem not in ROLES and len([room for room in rooms if room not in PAGES]) > 1
    }
    assert shared == {}


def test_modules_stay_short():
    converters = {path.stem: path for path in (ROOT / "converters").glob("*.py")}
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in {**MODULES, **converters}.items()}
    assert {name for name, length in lengths.items() if length > LONGEST} == {SENT_AS_ONE_FILE}
    assert "one file" in ast.get_docstring(ast.parse(MODULES[SENT_AS_ONE_FILE].read_text("utf-8")))
