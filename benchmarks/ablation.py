"""What each lever of edgefer's method is worth on fer_b0: converted again with that lever alone off.

    python benchmarks/ablation.py

needs ../shared; takes a conversion and a judgement (about a minute) per row.  The method is that of `--effort fast`;
the last row shows what learning weights adds to it.
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
from judge import Network, Quality, frame_rounds, judge, ratio
from measured import signed

import edgefer
from edgefer.bundle import Bundle
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.quantize.lessons import Effort
from edgefer.quantize.scales.ranges import affine, identity

JUDGED = SHARED / "data" / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "ablation.md"


@dataclass(frozen=True)
class Lever:
    """One part of the method, and how it is taken out.

    Attributes:
        name: row of the table.
        replaced: what stands in its place, by the dotted path under which the method finds it.  A path that
            exists no longer is an error, so that no row outlives its lever.
        effort: what the rest is converted with.
    """

    name: str
    replaced: Mapping[str, Any] = field(default_factory=dict)
    effort: Effort = "fast"


NOTHING = Lever("nothing")
LEVERS: tuple[Lever, ...] = (
    Lever("leaving out channels that hardly matter", {"edgefer.quantize.evened.leave_out": lambda graph, *_: graph}),
    Lever("splitting loud channels from quiet ones", {"edgefer.quantize.evened.split": lambda graph, *_: graph}),
    Lever(
        "channel equalisation through SiLU",
        {
            "edgefer.quantize.evened.equalise": lambda graph, *_: (graph, {}),
            "edgefer.quantize.equalise.split_channels.is_cheaper_equalised": lambda *_: False,
        },
    ),
    Lever("ranges judged after SiLU", {"edgefer.quantize.scales.int8._view": lambda *_: identity}),
    Lever(
        "ranges of least squared error (min/max instead)",
        {"edgefer.quantize.scales.int8.mse_optimal": lambda seen, *_: affine(seen.minimum, seen.maximum)},
    ),
    Lever("scales without ties", {"edgefer.quantize.scales.int8.avoid_ties": lambda *_: None}),
    Lever("rounding that changes outputs least", {"edgefer.quantize.fit.correct.rounded": lambda weights, *_: weights}),
    Lever("correction of gains", {"edgefer.quantize.fit.correct._CORRELATED": 2.0}),
    Lever(
        "that rounding, and correction of gains and biases",
        {"edgefer.quantize.method.correct": lambda graph, plan, *_, **__: (graph, plan)},
    ),
    Lever("nothing, and weights are learned (`--effort balanced`)", effort="balanced"),
)


@dataclass(frozen=True)
class Row:
    """What is left without a lever, per format.

    Attributes:
        off: the lever.
        quality: how the artifact compares with the float network.
        x_time: of a frame, relative to the artifact of the whole method.
    """

    off: str
    quality: Mapping[str, Quality]
    x_time: Mapping[str, float]


def main() -> int:
    """Convert with everything and without each lever; write the table and the JSON file beside it."""
    parser = argparse.ArgumentParser(description="Tabulate what each lever of the method is worth on fer_b0.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write; JSON goes beside it")
    target: Path = parser.parse_args().output

    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as name:
        os.environ["EDGEFER_HOME"] = name
        whole = convert_without(NOTHING, Path(name) / "whole")
        rows = [measured(NOTHING, whole, whole)]
        for number, lever in enumerate(LEVERS):
            print(f"off: {lever.name} ...", file=sys.stderr, flush=True)
            rows.append(measured(lever, convert_without(lever, Path(name) / str(number)), whole))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".json").write_text(
        json.dumps(list(map(asdict, rows)), indent=1, allow_nan=False) + "\n", "utf-8"
    )
    target.write_text(signed("\n".join(render(rows)), "emit", "graph", "quantize"), "utf-8")
    print(target.read_text("utf-8"))
    return 0


def convert_without(lever: Lever, path: Path) -> Bundle:
    """A bundle of fer_b0 made with the lever off."""
    with ExitStack() as off:
        for place, replacement in lever.replaced.items():
            off.enter_context(patch(place, replacement))
        return edgefer.convert(MODEL, path, calibration=CALIBRATION, effort=lever.effort)


def measured(lever: Lever, bundle: Bundle, whole: Bundle) -> Row:
    """How the int8 artifacts of a bundle compare with its float reference, and with the whole method in time."""
    images, formats = open_images(JUDGED), ("tflite", "onnx")
    networks = {format: Network(bundle.artifact(format)) for format in formats}
    reference = Network(bundle.artifact("onnx", "float32"))
    quality = judge({"fp32": reference, **networks}, "fp32", images, bundle.spec)
    timed = networks | {f"whole {format}": Network(whole.artifact(format)) for format in formats}
    rounds = frame_rounds(timed, next(iter_pixels(images, bundle.spec.input)), bundle.spec)
    return Row(
        lever.name,
        {format: quality[format] for format in formats},
        {format: ratio(rounds, format, f"whole {format}") for format in formats},
    )


def render(rows: Sequence[Row]) -> Iterator[str]:
    """The result as Markdown; the first row is the whole method."""
    formats = rows[0].quality
    yield "# What each lever is worth on fer_b0"
    yield ""
    yield "Written by `python benchmarks/ablation.py`; what is measured and how: [README](../README.md)."
    yield "In brackets: the change from the whole method."
    yield ""
    titles = (f"{format}: top-1, % | agreement, % | SQNR, dB | time" for format in formats)
    yield f"| off | {' | '.join(titles)} |"
    yield "|---|" + "---:|---:|---:|---:|" * len(formats)
    for row in rows:
        yield f"| {row.off} | {' | '.join(_cells(row, rows[0], format) for format in formats)} |"
    yield ""


def _cells(row: Row, whole: Row, format: str) -> str:
    quality, before = row.quality[format], whole.quality[format]
    differences = (
        100 * (quality.accuracy - before.accuracy),
        100 * (quality.agreement - before.agreement),
        quality.sqnr_db - before.sqnr_db,
    )
    values = (f"{100 * quality.accuracy:.2f}", f"{100 * quality.agreement:.2f}", f"{quality.sqnr_db:.1f}")
    changes = ("", "", "") if row is whole else tuple(f" ({change:+.1f})" for change in differences)
    shown = (value + change for value, change in zip(values, changes, strict=True))
    return " | ".join((*shown, f"{row.x_time[format]:.2f}"))


if __name__ == "__main__":
    sys.exit(main())
