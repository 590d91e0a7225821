"""`policy`: clips of people are looked at on every frame, and tell on how few frames the network must be asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from math import inf
from pathlib import Path

from edgefer.bundle import Bundle
from edgefer.errors import InputError, UsageError
from edgefer.execution import Executor
from edgefer.faces.detectors import BLAZEFACE
from edgefer.host.csv_tables import csv_rows
from edgefer.host.progress import SILENT, Progress
from edgefer.images import match_labels
from edgefer.spec import Spec
from edgefer.timeline.policy import ALPHA, STRIDES, WINDOW_S, Policy, calibrate
from edgefer.timeline.run import RunOptions, run
from edgefer.timeline.score_names import main_head


def policy(
    bundle: Bundle | str | Path,
    clips: Sequence[str | Path],
    *,
    labels: Path | str | None = None,
    alpha: float = ALPHA,
    strides: Sequence[int] = STRIDES,
    window_s: float = WINDOW_S,
    format: str = "tflite",
    detector: str | Path = BLAZEFACE,
    boxes: Path | str | None = None,
    workers: Executor | int | None = None,
    progress: Progress = SILENT,
) -> Policy:
    """Find on how few frames a network must be asked; the result is for `RunOptions.policy`.

    Args:
        bundle: an opened bundle, or its directory.
        clips: videos or folders of them; each is one person.
        labels: a table of what is true: source,label, and start_s,end_s where it changes.  Without, an answer is right
            where it is that of the full frame rate.
        alpha: share of windows whose answer may be wrong.
        strides: of the levels; each divides the one before, and the last is 1.
        window_s: seconds that get one answer.
        format: of the artifact, `tflite` or `onnx`.
        detector: `blazeface`, `none`, or the file of a YuNet network.
        boxes: a table of boxes that is used instead.
        workers: so many clips are looked at at once, one per processor by default; or whoever else does it.
        progress: who is told.

    Raises:
        UsageError: strides do not divide each other, or alpha is no share.
        InputError: bundle, labels or clips cannot be read, or fewer than two people show a face.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
    if bundle.spec.is_of_sequences:
        raise UsageError(
            f"{bundle.name} looks at more than one frame: asked on fewer it is another network",
            remedy="Run it without a policy; a stride fits where it was trained at such a frame rate.",
        )
    truth = _truth(Path(labels), bundle.spec) if labels is not None else None
    options = RunOptions(format=format, detector=detector, boxes=None if boxes is None else Path(boxes))
    found = run(bundle, clips, options=options, workers=workers, progress=progress)
    network = sha256(bundle.artifact(format).read_bytes()).hexdigest()
    observed = [timeline.observed for timeline in found.timelines]
    return calibrate(observed, bundle.spec, network, alpha=alpha, strides=strides, window_s=window_s, label=truth)


def _truth(path: Path, spec: Spec) -> Callable[[str, float, float], int | None]:
    """What is true of a source between two times: the label that holds for more than half of it, None where none does.

    Raises:
        InputError: the table cannot be read, or names a class that the network does not know.
    """
    head = main_head(spec)
    names = head.labels if head else ()
    stated: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    with csv_rows(path, "a table with columns source and label, start_s and end_s") as rows:
        for line, row in enumerate(rows, 2):
            (place,) = match_labels((row["label"],), names).to_network
            if place is None:
                raise InputError(f"{path}: line {line}: the network knows no {row['label']!r}: {', '.join(names)}")
            start, end = float(row.get("start_s") or 0), float(row.get("end_s") or inf)
            stated[row["source"]].append((start, end, place))

    def label(source: str, start: float, end: float) -> int | None:
        held: dict[int, float] = defaultdict(float)
        for begin, until, place in stated.get(source, ()):
            held[place] += max(min(end, until) - max(start, begin), 0.0)
        best = max(held, key=lambda place: held[place], default=None)
        return best if best is not None and held[best] > (end - start) / 2 else None

    return label
