"""What a table under results/ was measured with: a line at its end, and which tables' sources have changed since.

    python -m benchmarks.measured

lists them; each names the rooms of edgefer that it speaks of.  A table of another version than edgefer's own is too old
to be released, which a test holds; within a version the code moves on, and this list says what to measure again.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

_LINE = re.compile(r"^Measured with edgefer (\S+), sources ([0-9a-f]{12}) of edgefer/\{([a-z_,]+)\}\.$", re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """What a table says of itself.

    Attributes:
        version: of edgefer.
        digest: of the rooms' sources.
        rooms: directories of edgefer whose code the figures are about.
    """

    version: str
    digest: str
    rooms: tuple[str, ...]


def signed(table: str, *rooms: str) -> str:
    """A table that is about these directories of edgefer as they are now, with the line that says so."""
    names = ",".join(sorted(rooms))
    line = f"Measured with edgefer {version()}, sources {digest(rooms)} of edgefer/{{{names}}}."
    return "\n".join((table.rstrip("\n"), "", line, ""))


def read(table: str) -> Measured | None:
    """What a table says of itself; None where it says nothing."""
    found = _LINE.findall(table)
    return Measured(found[-1][0], found[-1][1], tuple(found[-1][2].split(","))) if found else None


def version() -> str:
    """Edgefer's, as its sources say."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def digest(rooms: Iterable[str], root: Path = ROOT) -> str:
    """Twelve digits of the SHA-256 of the Python sources in directories of edgefer, by name and content."""
    total = hashlib.sha256()
    for room in sorted(rooms):
        for path in sorted((root / "edgefer" / room).rglob("*.py")):
            total.update(f"{path.relative_to(root).as_posix()}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def changed(results: Path = RESULTS, root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Tables to measure again, each with why."""
    for path in sorted(results.glob("*.md")):
        measured = read(path.read_text("utf-8"))
        if measured is None:
            yield path.name, "does not say what it was measured with"
        elif measured.version != version():
            yield path.name, f"is of edgefer {measured.version}"
        elif measured.digest != digest(measured.rooms, root):
            yield path.name, f"edgefer/{{{','.join(measured.rooms)}}} changed since"


def main() -> int:
    """Print the tables whose sources changed; exit with 1 where there are any."""
    found = list(changed())
    for name, why in found:
        print(f"{name}: {why}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
