"""`edgefer policy`."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.cli.looking import looking_options
from edgefer.cli.output import Console, echo, output_options, table, write_json
from edgefer.cli.workers import Workers, worker_options
from edgefer.timeline.find_policy import policy as find_policy
from edgefer.timeline.policy import ALPHA, STRIDES, WINDOW_S, Policy


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
@looking_options
@worker_options
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
    workers: Workers,
    console: Console,
) -> int:
    """Find how few frames BUNDLE must be asked on, from clips of people."""
    try:
        chosen = tuple(int(stride) for stride in strides.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{strides!r} are no strides; write them like 30,15,5,1", param_hint="--strides"
        ) from None
    progress = console.progress
    with workers.opened(progress) as executor:
        made = find_policy(
            bundle,
            clips,
            labels=labels_file,
            alpha=alpha,
            strides=chosen,
            window_s=window,
            format=format,
            detector=detector,
            boxes=boxes,
            workers=executor,
            progress=progress,
        )
    write_json(output, made.to_dict())
    console.write_json(made.to_dict())
    if console.shows():
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
