"""`edgefer convert`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast, get_args

import click
import numpy as np

from edgefer.bundle import Artifact, Bundle
from edgefer.cli.output import Console, echo, output_options, table
from edgefer.cli.trained import network_options
from edgefer.conversion.convert import BUDGET, SAMPLES
from edgefer.conversion.convert import convert as run_convert
from edgefer.conversion.options import FORMATS, Backend, Ends, refuses_to_shrink
from edgefer.conversion.shrinking import LEARNED
from edgefer.errors import UsageError
from edgefer.evaluation.quick_look import frame_times, measure_name, shown
from edgefer.host.text import counted, printable
from edgefer.host.units import format_size, parse_size
from edgefer.quantize.costs.machines import TARGETS
from edgefer.quantize.lessons import Effort
from edgefer.quantize.weights_only import Precision
from edgefer.runtime.runners import Format, open_runner
from edgefer.shrink.asked import can_reach, rounds

_NOTABLE = 0.1
"""Share of the parameters; where less is left out, the report and the manifest say so, and the summary does not."""


class SizeType(click.ParamType[int]):
    """Bytes, as in 8MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse, or fail as click does."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class FormatsType(click.ParamType[tuple[Format, ...]]):
    """Artifact formats, separated by commas."""

    name = "formats"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Format, ...]:
        """Parse, or fail as click does."""
        if isinstance(value, tuple):
            return value
        chosen = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        if not set(chosen) <= set(FORMATS):
            self.fail(f"{value!r}: choose from {', '.join(FORMATS)}", param, ctx)
        return cast("tuple[Format, ...]", chosen)


@click.command(
    epilog="""\b
Examples:
  edgefer convert                                        the bundled network, offline
  edgefer convert model.onnx --calibration faces/ -o out
  edgefer convert checkpoint.pt --calibration faces.zip --budget 5MB
  edgefer convert model.onnx --calibration faces/ --effort best --max-drop 0.3
  edgefer convert model.onnx --calibration faces/ --target pi5
  edgefer convert model.onnx --calibration faces/ --mixed --costs board.json
  edgefer convert resnet18.pt --calibration faces/ --shrink --unlabelled many_faces/
  edgefer convert model.onnx --calibration faces/ --shrink --max-latency 20ms@board.json
  edgefer convert model.onnx --calibration faces/ --precision w8
  edgefer convert model.onnx --calibration faces/ --batch dynamic --formats onnx
  edgefer convert model.onnx --calibration faces/ --io int8
"""
)
@click.argument("model", default="fer_b0")
@network_options
@click.option(
    "--calibration",
    metavar="DIR|ZIP|NPZ|NAME",
    help="Images to calibrate on, in sequences where the network looks at those, or `synthetic`; the network's own set "
    "by default.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=SAMPLES,
    show_default=True,
    help="Calibrate on at most so many images.",
)
@click.option(
    "--budget",
    type=SizeType(),
    default=f"{BUDGET // 1_000_000}MB",
    show_default=True,
    help="Bytes that an artifact may have.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Percentage points of accuracy that may be lost; as few parts as can be compute in float for it.",
)
@click.option(
    "--max-latency",
    metavar="TIME@COSTS",
    help="What an inference may take, by what operators cost there: 20ms@board.json, or 0.7x@pi5 of what int8 takes.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Let parts compute in float, from int8-stored weights, for up to 1.25 times the latency.",
)
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    help="Where to be fast, by what operators cost there; by default a compromise of all.",
)
@click.option(
    "--costs",
    metavar="FILE.json",
    help="The same of a board of yours: what `edgefer benchmark --operator-costs --json` wrote.",
)
@click.option(
    "--shrink",
    is_flag=True,
    help="Where int8 is over the budget or the latency, remove channels that matter least, and learn the rest again "
    "with PyTorch, longer with more --effort; not of sequences.",
)
@click.option("--unlabelled", metavar="DIR|ZIP|NPZ", help="More faces to learn on with --shrink; no labels are needed.")
@click.option(
    "--effort",
    type=click.Choice(get_args(Effort)),
    default="fast",
    show_default=True,
    help="How long to come closer to float; more than fast learns weights, with PyTorch.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="int8",
    show_default=True,
    help="int8 throughout; w8: weights in int8, arithmetic in float; fp16: weights in float16, for GPU delegates.",
)
@click.option(
    "--batch",
    type=click.Choice(["1", "dynamic"]),
    default="1",
    show_default=True,
    help="dynamic: the ONNX files take any number of images at once, for servers; TFLite takes one.",
)
@click.option(
    "--io",
    type=click.Choice(get_args(Ends)),
    default="float",
    show_default=True,
    help="int8: integers in and out, for accelerators that have nothing else; files and manifest say what they mean.",
)
@click.option("--formats", type=FormatsType(), default=",".join(FORMATS), show_default=True, help="Artifacts to make.")
@click.option(
    "--tflite-backend",
    type=click.Choice(["edgefer", "onnx2tf"]),
    default="edgefer",
    show_default=True,
    help="Who writes the TFLite file.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Directory of the bundle; NAME_bundle by default.",
)
@output_options
def convert(
    model: str,
    how: Mapping[str, Any],
    calibration: str | None,
    samples: int,
    budget: int,
    max_drop: float | None,
    max_latency: str | None,
    mixed: bool,
    target: str | None,
    costs: str | None,
    shrink: bool,
    unlabelled: str | None,
    effort: Effort,
    formats: tuple[Format, ...],
    tflite_backend: Backend,
    precision: Precision,
    batch: str,
    io: Ends,
    output: Path | None,
    console: Console,
) -> int:
    """Make int8 TFLite and ONNX artifacts of MODEL, a checkpoint, ONNX file or bundled network's name."""
    try:
        bundle = run_convert(
            model,
            output,
            **how,
            calibration=calibration,
            samples=samples,
            budget=budget,
            max_drop=max_drop,
            max_latency=max_latency,
            mixed=mixed,
            target=target,
            costs=costs,
            shrink=shrink,
            unlabelled=unlabelled,
            effort=effort,
            formats=formats,
            tflite_backend=tflite_backend,
            precision=precision,
            batch="dynamic" if batch == "dynamic" else 1,
            io=io,
            progress=console.progress,
        )
    except KeyboardInterrupt:
        if shrink:
            echo("what --shrink has come to so far is kept: the same command goes on from there", err=True)
        raise
    times = _frame_times(bundle)
    if console.shows():
        echo(summary(bundle, times))
    console.write_json({**bundle.manifest, "ms_per_frame_on_this_host": times})
    may_shrink = not shrink and not refuses_to_shrink(
        precision, tflite_backend, is_of_sequences=bundle.spec.is_of_sequences
    )
    for artifact in bundle.over_budget:
        echo(over_budget(bundle, artifact, times, may_shrink=may_shrink), err=True)
    drop_over = bundle.manifest.get("solution", {}).get("drop_over", 0)
    if drop_over:
        echo(over_drop(bundle), err=True)
    is_slow = latency_over(bundle) > 0
    if is_slow:
        echo(over_latency(bundle, times, may_shrink=may_shrink), err=True)
    return 1 if bundle.over_budget or drop_over or is_slow else 0


def summary(bundle: Bundle, times: dict[str, float]) -> str:
    """The table that a conversion ends with, and what its columns mean."""
    agreements = bundle.manifest["held_back"]["agreement"]
    heads = bundle.spec.outputs
    rows = []
    for artifact in sorted(bundle.artifacts, key=lambda a: not a.is_reference):
        is_reference = artifact.is_reference
        share = "" if is_reference else f"{artifact.bytes / bundle.manifest['budget_bytes']:.0%}"
        agreed = ["" if is_reference else shown(head, agreements[artifact.format][head.name]) for head in heads]
        ops = f"{artifact.ops['int8']}/{artifact.ops['float']}"
        rows.append((artifact.file, f"{artifact.bytes:,}", share, ops, *agreed, f"{times[artifact.file]:.2f}"))
    budget = format_size(bundle.manifest["budget_bytes"])
    header = (
        "",
        "bytes",
        f"of {budget}",
        "int8/float ops",
        *(f"{measure_name(head)} ({head.name})" if len(heads) > 1 else measure_name(head) for head in heads),
        "ms/frame",
    )
    held_back, calibration = bundle.manifest["held_back"], bundle.manifest["calibration"]
    mixes = sum(bool(point["float"]) for point in _points(bundle))
    chosen = f", but chose among {mixes + 1} ways to mix" if mixes else ""
    return "\n".join(
        (
            "",
            table(header, rows),
            "",
            f"Agreement with fp32 is on {counted(held_back['count'], 'image')} of {held_back['source']} that were not "
            f"among the {calibration['count']} calibrated on{chosen};",
            "time is the median on this host, one thread.",
            *_within_latency(bundle),
            *_outside(bundle),
            *_shrunk(bundle),
            *_left_out(bundle),
            f"Wrote {printable(str(bundle.path))}",
        )
    )


def _within_latency(bundle: Bundle) -> list[str]:
    """A line on the bound on latency, where there is one and it is kept."""
    found = bundle.manifest.get("latency")
    if found is None or latency_over(bundle) > 0:
        return []
    return [
        f"An inference is expected to take {found['expected'] / found['allowed']:.1%} of what --max-latency "
        f"{found['asked']} allows on {found['costs_of']}."
    ]


def _shrunk(bundle: Bundle) -> list[str]:
    """A line on the channels that were removed, where any were."""
    found = bundle.manifest["quantization"].get("shrunk")
    if found is None:
        return []
    count = found.get("plainer", 0)
    plainer = f", and {counted(count, 'part')} became plainer" if count else ""
    return [
        f"To keep the bounds, channels were removed: of {found['parameters_before'] / 1e6:.2f} M parameters "
        f"{found['parameters'] / 1e6:.2f} M are left, of {found['macs_before'] / 1e6:.0f} M multiply-accumulates "
        f"{found['macs'] / 1e6:.0f} M{plainer}; fp32 is the network as it was."
    ]


def _left_out(bundle: Bundle) -> list[str]:
    """A line on the channels that hardly matter, where they are a notable part of the network."""
    quantization = bundle.manifest["quantization"]
    share = quantization["left_out"] / max(quantization.get("shrunk", quantization)["parameters"], 1)
    if share <= _NOTABLE:
        return []
    return [
        f"Channels that hardly matter were left out, and {share:.0%} of the parameters with them; "
        "fp32 is the network as it was."
    ]


def _outside(bundle: Bundle) -> list[str]:
    """A line on the operators that LiteRT's fast kernels leave out, where there are any."""
    quantization = bundle.manifest["quantization"]
    counts = Counter(entry.partition(" ")[0] for entry in quantization["undelegated"])
    if not counts:
        return []
    shares = quantization.get("undelegated_time", {})
    kinds = [
        f"{count} {op}" + (f" ({shares[op]:.1%} of the time)" if op in shares else "") for op, count in counts.items()
    ]
    return [f"Outside XNNPACK, in slower kernels of LiteRT: {', '.join(kinds)}"]


def over_budget(bundle: Bundle, artifact: Artifact, times: Mapping[str, float], *, may_shrink: bool) -> str:
    """By how much an artifact misses the budget, and what would help.

    Args:
        bundle: what it is of.
        artifact: that is too large.
        times: milliseconds of a frame, by file.
        may_shrink: whether --shrink was not asked for, and would not be refused.
    """
    budget = int(bundle.manifest["budget_bytes"])
    parameters = int(bundle.manifest["quantization"]["parameters"])
    in_int8 = max([artifact.bytes, *(point["bytes"] for point in _points(bundle)[:1])])
    packed = any(point["chosen"] and point["int4"] for point in _points(bundle))
    four_bits = "; layers whose kernels read four bits are stored so already" if packed else ""
    return (
        f"{click.style('over budget:', fg='red', bold=True)} {artifact.file} has {artifact.bytes:,} bytes, "
        f"{artifact.bytes - budget:,} more than the budget of {budget:,}\n"
        f"  The network has {parameters / 1e6:.2f} M parameters{four_bits}.\n"
        f"  {_smaller(bundle, times, in_int8, budget, may_shrink)} or a larger --budget would help."
    )


def _smaller(bundle: Bundle, times: Mapping[str, float], found: float, most: float, may_shrink: bool) -> str:
    """Which smaller networks would help where `most` is exceeded, and what it would cost to make one."""
    if not may_shrink:
        return "A smaller variant"
    if not can_reach(found, most):
        return f"--shrink does not come so far: {1 - most / found:.1%} would have to go.  A smaller variant"
    float_ms = next(times[each.file] for each in bundle.artifacts if each.is_reference)
    height, width = bundle.spec.input.size
    seconds = LEARNED["fast"].seconds(rounds(found, most), height * width, float_ms / 1e3)
    price = f"takes about {counted(max(round(seconds / 60), 1), 'minute')} more here"
    if find_spec("torch") is None:
        price = "needs the extra `torch` to learn the rest again (pip install 'edgefer[torch]')"
    return (
        f"--shrink, which removes the channels that matter least, {1 - most / found:.0%} of what there is, and "
        f"{price}, a smaller variant"
    )


def latency_over(bundle: Bundle) -> float:
    """By how much the bound on latency is missed, in the unit of its costs; 0 where it is kept, or there is none."""
    found = bundle.manifest.get("latency")
    return 0.0 if found is None else max(float(found["expected"] - found["allowed"]), 0.0)


def over_latency(bundle: Bundle, times: Mapping[str, float], *, may_shrink: bool) -> str:
    """By how much the bound on latency is missed, and what would help; the rest is as for `over_budget`."""
    found = bundle.manifest["latency"]
    ratio = found["expected"] / found["allowed"]
    milliseconds = f", {found['expected'] / 1e6:.2f} ms," if found["unit"] == "ns" else ""
    return (
        f"{click.style('over the latency:', fg='red', bold=True)} an inference is expected to take {ratio:.2f} times "
        f"what --max-latency {found['asked']} allows{milliseconds} on {found['costs_of']}\n"
        f"  {_smaller(bundle, times, found['expected'], found['allowed'], may_shrink)} or a larger bound would help."
    )


def over_drop(bundle: Bundle) -> str:
    """By how much the bound on the drop is missed, and what would help."""
    solution = bundle.manifest["solution"]
    drop = next(point["drop"] for point in _points(bundle) if point["chosen"])
    return (
        f"{click.style('over the drop:', fg='red', bold=True)} {drop:.2f} percentage points of accuracy are to be "
        f"expected, {solution['drop_over']:.2f} more than --max-drop {solution['max_drop']:g}\n"
        "  More or better calibration images, --effort best, or a larger --max-drop would help."
    )


def _points(bundle: Bundle) -> list[dict[str, Any]]:
    """What was chosen among; nothing where no bound had to be solved for."""
    points: list[dict[str, Any]] = bundle.manifest.get("solution", {}).get("points", [])
    return points


def _frame_times(bundle: Bundle) -> dict[str, float]:
    height, width = bundle.spec.input.size
    clip = [bundle.spec.input.frames] if bundle.spec.input.frames is not None else []
    gray = np.full((*clip, height, width, 3), 128, np.uint8)
    runners = {a.file: open_runner(bundle.path / a.file, a.format, spec=bundle.spec) for a in bundle.artifacts}
    return frame_times(runners, gray)
