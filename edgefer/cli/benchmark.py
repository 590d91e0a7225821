"""`edgefer benchmark`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgefer.bundle import Bundle
from edgefer.cli.output import Console, echo, output_options, table, write_text
from edgefer.device.benchmark import SAMPLES
from edgefer.device.benchmark import benchmark as run_benchmark
from edgefer.device.results import Benchmark, Settings
from edgefer.device.summary import (
    cost_rows,
    pipeline_rows,
    pipeline_verdict,
    rows,
    sustained_rows,
    sustained_verdict,
    throughput_rows,
    title,
)
from edgefer.host.text import printable
from edgefer.report import benchmark_report

FAILED, NO_EVIDENCE = 4, 5
QUICK_FRAMES = 128
COLOURS = {"trusted": "green", "throttled": "red", "noisy": "yellow", "incomplete": "red"}


def _threads(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    """Numbers of threads in the order given, the first of which results are about."""
    parts = value.split(",")
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= 64 for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of numbers of threads, 1 to 64, such as 1,2,4")
    return tuple(dict.fromkeys(map(int, parts)))


def _duration(context: click.Context, option: click.Parameter, value: str) -> float:
    """Seconds of a time such as 90s, 30m or 2h; 0 where none was given."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value)
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if value and not seconds:
        raise click.BadParameter(f"{value!r} is not a time such as 90s, 30m or 2h")
    return seconds


@click.command(
    epilog="""\b
Examples:
  edgefer benchmark fer_b0_bundle                                on this machine
  edgefer benchmark fer_b0_bundle --device pi@192.168.1.20 --data faces.npz --json pi.json
  edgefer benchmark fer_b0_bundle --device pi4 --device pi5 --threads 1,2,4 --report boards.html
  edgefer benchmark fer_b0_bundle --device pi5 --quick --throughput
  edgefer benchmark fer_b0_bundle --device pi5 --duration 30m --report pi5.html
  edgefer benchmark fer_b0_bundle --device a76 --quick --count-instructions
  edgefer benchmark fer_b0_bundle --device pi5 --operator-costs --json pi5.json
  edgefer benchmark fer_b0_bundle --device pi5 --pipeline clip.mp4

\b
Exit codes: 0 every run is evidence; 2 no such device; 3 bundle or data unreadable;
4 a board could not be reached or failed; 5 a run was throttled, noisy, incomplete or interrupted.
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("local",),
    show_default=True,
    metavar="NAME|USER@HOST[:PORT]",
    help="Where to measure; repeat it for several boards at the same time.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|NPZ",
    help="Images to measure drift and, if labelled, accuracy on; without, boards are compared with this machine only.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=SAMPLES,
    show_default=True,
    help="Use at most so many images, spread evenly over the set.",
)
@click.option(
    "--frames", type=click.IntRange(min=1), help="Time at least so many frames; 1,024 by default, and at least 10 s."
)
@click.option("--quick", is_flag=True, help=f"Time {QUICK_FRAMES} frames only, however fast.")
@click.option(
    "--threads",
    default="1",
    show_default=True,
    metavar="N[,N...]",
    callback=_threads,
    help="Of the runtime; results are about the first, several make a sweep.",
)
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), help="Pace the frames like a camera; back to back by default."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["tflite", "onnx", "fp32"]),
    help="Run this artifact; repeatable; all by default.",
)
@click.option("--count-instructions", is_flag=True, help="Count ARM instructions per inference, on emulated boards.")
@click.option(
    "--operator-costs",
    is_flag=True,
    help="Measure what operators cost there, for `convert --costs`; in instructions on emulated boards.",
)
@click.option(
    "--pipeline",
    type=click.Path(path_type=Path),
    metavar="CLIP",
    help="Also time whole frames of a video: detect, crop, infer, smooth, paced as a camera (--fps, or 30).",
)
@click.option(
    "--throughput/--no-throughput",
    default=None,
    help="Frames per second of one stream, and of as many side by side as saturate the board; "
    "left out with --quick, --fps, --duration and on emulated boards unless asked for.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1024),
    default=1,
    metavar="N",
    help="Frames per second also with N images at once, of artifacts made by `convert --batch dynamic`.",
)
@click.option(
    "--duration",
    default="",
    metavar="TIME",
    callback=_duration,
    help="Then run the artifacts in turns for so long, such as 30m: latency, temperature and clock over time, and from "
    "when on they are steady. Ctrl-C keeps what was measured.",
)
@click.option(
    "--report", "report_file", metavar="FILE.html", help="Write a page with charts, one file that needs nothing else."
)
@output_options
def benchmark(
    bundle: Path,
    devices: tuple[str, ...],
    data: Path | None,
    samples: int,
    frames: int | None,
    quick: bool,
    threads: tuple[int, ...],
    fps: float | None,
    formats: tuple[str, ...],
    count_instructions: bool,
    operator_costs: bool,
    pipeline: Path | None,
    throughput: bool | None,
    batch: int,
    duration: float,
    report_file: str | None,
    console: Console,
) -> int:
    """Time BUNDLE's artifacts on boards, and compare what they compute there with this machine."""
    default = Settings()
    result = run_benchmark(
        bundle,
        devices,
        data=data,
        samples=samples,
        settings=Settings(
            frames=frames or (QUICK_FRAMES if quick else default.frames),
            seconds=0.0 if quick else default.seconds,
            threads=threads,
            fps=fps,
        ),
        formats=formats or None,
        count_instructions=count_instructions,
        operator_costs=operator_costs,
        pipeline=pipeline,
        throughput=False if throughput is None and (quick or fps or duration) else throughput,
        batch=batch,
        duration=duration,
        progress=console.progress,
    )
    if console.shows():
        echo(summary(result))
    console.write_json(result.to_dict())
    if report_file is not None:
        write_text(report_file, benchmark_report(Bundle.open(bundle, verify=False).manifest, result))
    for error in result.failures.values():
        echo(f"{click.style('error:', fg='red', bold=True)} {printable(error.message)}\n  {error.remedy}", err=True)
    if result.failures:
        return FAILED
    return 0 if result.trusted else NO_EVIDENCE


def summary(result: Benchmark) -> str:
    """For each device its table and verdict."""
    lines = []
    for run in result.runs:
        status = click.style(run.verdict.status, fg=COLOURS[run.verdict.status], bold=True)
        costs = () if run.operator_costs is None else ("", table(*cost_rows(run.operator_costs)))
        lines += ["", click.style(printable(title(run)), bold=True), table(*rows(run)), *costs]
        if any(artifact.throughput for artifact in run.artifacts.values()):
            lines += ["", table(*throughput_rows(run))]
        if run.sustained is not None:
            lines += ["", table(*sustained_rows(run)), *sustained_verdict(run)]
        if run.pipeline is not None:
            lines += ["", table(*pipeline_rows(run.pipeline, emulated=run.device["emulated"]))]
            lines.append(pipeline_verdict(run.pipeline))
        lines += ["", status]
        lines += [f"  {printable(reason)}" for reason in run.verdict.reasons]
    return "\n".join(lines)
