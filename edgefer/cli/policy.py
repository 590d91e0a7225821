"""`edgefer policy`."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from hashlib import sha256
from math import inf
from pathlib import Path

import click

from edgefer.bundle import Bundle
from edgefer.cli.output import ConsoleProgress, echo, output_options, table, write_json
from edgefer.errors import InputError
from edgefer.images import match_labels
from edgefer.timeline.policy import ALPHA, STRIDES, WINDOW_S, Policy, calibrate
from edgefer.timeline.run import Options
from edgefer.timeline.run import run as run_sources
from edgefer.timeline.score_names import main_head


@click.command(
    epilog="""\b
Examples:
  edgefer policy fer_b0_bundle clips/ -o policy.json
  edgefer policy fer_b0_bundle clips/ --labels truth.csv --alpha 0.1 -o policy.json
  edgefer run fer_b0_bundle viewers/ --policy policy.json -o out

\b
Each clip is one person: thresholds are chosen on half of them, and judged on the others.
Without labels, an answer is right where it is that of the full frame rate.

\b
Exit codes: 0 the recommended way keeps the bound; 1 none but the full rate was shown to;
2 wrong usage; 3 clips, labels or bundle unreadable, or too few people.
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("clips", nargs=-1, required=True, metavar="CLIPS...")
@click.option("-o", "--output", required=True, metavar="FILE.json", help="The policy, for `edgefer run --policy`.")
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="What is true: source,label, and start_s,end_s where it changes.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=ALPHA,
    show_default=True,
    help="Share of windows whose answer may be wrong.",
)
@click.option(
    "--strides",
    default=",".join(map(str, STRIDES)),
    show_default=True,
    help="Of the levels; each divides the one before.",
)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    default=WINDOW_S,
    show_default=True,
    metavar="SECONDS",
    help="Time that gets one answer.",
)
@click.option(
    "--detector", default="blazeface", show_default=True, metavar="NAME|FILE.onnx", help="As of `edgefer run`."
)
@click.option("--boxes", type=click.Path(path_type=Path), metavar="CSV", help="As of `edgefer run`.")
@click.option(
    "--format", type=click.Choice(["tflite", "onnx"]), default="tflite", show_default=True, help="Artifact to run."
)
@click.option("--workers", type=click.IntRange(min=1), help="Clips at once; one per processor by default.")
@output_options
def policy(
    bundle: Path,
    clips: tuple[str, ...],
    output: str,
    labels_file: Path | None,
    alpha: float,
    strides: str,
    window: float,
    detector: str,
    boxes: Path | None,
    format: str,
    workers: int | None,
    json_file: str | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Find how few frames BUNDLE must be asked on, from clips of people."""
    opened = Bundle.open(bundle)
    label = _labels(labels_file, opened) if labels_file else None
    try:
        chosen = tuple(int(stride) for stride in strides.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{strides!r} are no strides; write them like 30,15,5,1", param_hint="--strides"
        ) from None
    options = Options(format=format, detector=detector, boxes=boxes)
    progress = ConsoleProgress(quiet=quiet, verbose=verbose)
    found = run_sources(opened, clips, options=options, workers=workers, progress=progress)
    network = sha256(opened.artifact(format).read_bytes()).hexdigest()
    observed = [timeline.observed for timeline in found.timelines]
    made = calibrate(observed, opened.spec, network, alpha=alpha, strides=chosen, window_s=window, label=label)
    write_json(output, made.to_dict())
    write_json(json_file, made.to_dict())
    if not quiet and json_file != "-":
        echo(summary(made))
        echo(f"Wrote {output}")
    return 0 if any(outcome.keeps(alpha) for outcome in made.outcomes if outcome.inferred < 1) else 1


def summary(made: Policy) -> str:
    """The ways beside each other, and which is recommended."""
    header = ("", "right", "wrong at most", "frames asked on", f"keeps {made.alpha:g}")
    rows = [
        (
            f"{outcome.name}{' *' if outcome.name == made.recommended else ''}",
            f"{100 * outcome.agreement:.1f} %",
            f"{100 * outcome.upper:.1f} %",
            f"{100 * outcome.inferred:.1f} %",
            "yes" if outcome.keeps(made.alpha) else "not shown",
        )
        for outcome in made.outcomes
    ]
    windows = made.outcomes[0].windows
    against = "their labels" if made.against == "labels" else "the answer at the full rate"
    return "\n".join(
        (
            table(header, rows),
            f"On {windows:,} windows of people that nothing was calibrated on, against {against}; at 95 % confidence.",
            "* is recommended: the cheapest that keeps the bound."
            if any(outcome.name == made.recommended and outcome.keeps(made.alpha) for outcome in made.outcomes)
            else "* is recommended: nothing cheaper was shown to keep the bound; more clips could show it.",
        )
    )


def _labels(path: Path, bundle: Bundle) -> Callable[[str, float, float], int | None]:
    """What is true of a source between two times: the label that holds for more than half of it, None where none does.

    Raises:
        InputError: the table cannot be read, or names a class that the network does not know.
    """
    head = main_head(bundle.spec)
    names = head.labels if head else ()
    stated: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line, row in enumerate(csv.DictReader(file), 2):
                (place,) = match_labels((row["label"],), names).to_network
                if place is None:
                    raise InputError(f"{path}: line {line}: the network knows no {row['label']!r}: {', '.join(names)}")
                start, end = float(row.get("start_s") or 0), float(row.get("end_s") or inf)
                stated[row["source"]].append((start, end, place))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a table with columns source and label, start_s and end_s: {error}") from error

    def label(source: str, start: float, end: float) -> int | None:
        held: dict[int, float] = defaultdict(float)
        for begin, until, place in stated.get(source, ()):
            held[place] += max(min(end, until) - max(start, begin), 0.0)
        best = max(held, key=lambda place: held[place], default=None)
        return best if best is not None and held[best] > (end - start) / 2 else None

    return label
