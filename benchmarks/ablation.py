"""What each lever of edgefer's method is worth on fer_b0: converted again with that lever alone off.

    python benchmarks/ablation.py

needs ../shared; takes a conversion and a judgement (about a minute) per row.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from convert_cost import CALIBRATION, MODEL, ROOT, SHARED
from judge import Network, Quality, judge

import edgefer
from edgefer.bundle import Bundle
from edgefer.images import open_images
from edgefer.quantize.ranges import affine, identity

JUDGED = SHARED / "data" / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "ablation.md"


@dataclass(frozen=True)
class Lever:
    """One part of the method, and how it is taken out.

    Attributes:
        name: row of the table.
        replaced: what stands in its place, by the dotted path under which the method finds it.  A path that
            exists no longer is an error, so that no row outlives its lever.
        options: of `edgefer.convert`, where it has a switch.
    """

    name: str
    replaced: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


NOTHING = Lever("nothing")
LEVERS: tuple[Lever, ...] = (
    Lever("splitting loud channels from quiet ones", {"edgefer.quantize.method.split": lambda graph, *_: graph}),
    Lever(
        "channel equalisation through SiLU",
        {"edgefer.quantize.method.equalise": lambda graph, *_: (graph, {})},
    ),
    Lever("ranges judged after SiLU", {"edgefer.quantize.int8._view": lambda *_: identity}),
    Lever(
        "ranges of least squared error (min/max instead)",
        {"edgefer.quantize.int8.mse_optimal": lambda seen, _: affine(seen.minimum, seen.maximum)},
    ),
    Lever("scales without ties", {"edgefer.quantize.int8.avoid_ties": lambda *_: None}),
    Lever("bias correction", {"edgefer.quantize.method.correct_biases": lambda graph, *_, **__: graph}),
    Lever("learned weights and biases", options={"effort": "fast"}),
)
OPTIONS: Mapping[str, Any] = {"effort": "balanced"}
"""Of every conversion."""


@dataclass(frozen=True)
class Row:
    """What is left without a lever: per format, how the artifact compares with the float network."""

    off: str
    quality: Mapping[str, Quality]


def main() -> int:
    """Convert once with everything and once without each lever; write the table and the JSON file beside it."""
    parser = argparse.ArgumentParser(description="Tabulate what each lever of the method is worth on fer_b0.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write; JSON goes beside it")
    target: Path = parser.parse_args().output

    rows = []
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as name:
        os.environ["EDGEFER_HOME"] = name
        for number, lever in enumerate((NOTHING, *LEVERS)):
            print(f"without {lever.name} ...", file=sys.stderr, flush=True)
            rows.append(Row(lever.name, qualities(convert_without(lever, Path(name) / f"bundle{number}"))))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".json").write_text(
        json.dumps(list(map(asdict, rows)), indent=1, allow_nan=False) + "\n", "utf-8"
    )
    target.write_text("\n".join(render(rows)), "utf-8")
    print(target.read_text("utf-8"))
    return 0


def convert_without(lever: Lever, path: Path) -> Bundle:
    """A bundle of fer_b0 made with the lever off."""
    with ExitStack() as off:
        for place, replacement in lever.replaced.items():
            off.enter_context(patch(place, replacement))
        return edgefer.convert(MODEL, path, calibration=CALIBRATION, **{**OPTIONS, **lever.options})


def qualities(bundle: Bundle) -> dict[str, Quality]:
    """Per format, how the int8 artifact compares with the bundle's float reference."""
    networks = {
        "fp32" if artifact.precision == "float32" else artifact.format: Network(bundle.path / artifact.file)
        for artifact in bundle.artifacts
    }
    found = judge(networks, "fp32", open_images(JUDGED), bundle.spec)
    return {format: found[format] for format in networks if format != "fp32"}


def render(rows: Sequence[Row]) -> Iterator[str]:
    """The result as Markdown; the first row is the whole method."""
    whole = rows[0].quality
    yield "# What each lever is worth on fer_b0"
    yield ""
    yield "Written by `python benchmarks/ablation.py`; what is measured and how: [README](../README.md)."
    yield "In brackets: the change from the whole method."
    yield ""
    yield "| off | " + " | ".join(f"{f}: top-1, % | agreement, % | SQNR, dB" for f in whole) + " |"
    yield "|---|" + "---:|---:|---:|" * len(whole)
    for row in rows:
        cells = (_cells(row.quality[format], whole[format], first=row is rows[0]) for format in whole)
        yield f"| {row.off} | {' | '.join(cells)} |"
    yield ""


def _cells(quality: Quality, whole: Quality, *, first: bool) -> str:
    differences = (
        100 * (quality.accuracy - whole.accuracy),
        100 * (quality.agreement - whole.agreement),
        quality.sqnr_db - whole.sqnr_db,
    )
    values = (f"{100 * quality.accuracy:.2f}", f"{100 * quality.agreement:.2f}", f"{quality.sqnr_db:.1f}")
    changes = ("", "", "") if first else tuple(f" ({change:+.1f})" for change in differences)
    return " | ".join(value + change for value, change in zip(values, changes, strict=True))


if __name__ == "__main__":
    sys.exit(main())
