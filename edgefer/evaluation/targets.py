"""What the data says is true: labels, votes and values, matched to the network's heads by name."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from edgefer.errors import InputError
from edgefer.evaluation.heads import chooses_class
from edgefer.evaluation.metrics import Bools, Floats, Ints
from edgefer.images import ImageSet, match_labels, starts
from edgefer.spec import OutputSpec, Spec

VOTES, VOTE_COLUMNS = "ferplus_votes", "ferplus_columns"
UNITS, UNIT_COLUMNS = "au", "au_columns"
CSV_FORMAT = "It needs a column `file` and others named like the network's labels: file,valence,arousal,AU1,..."

_RANGES = {"valence_arousal": (-1.0, 1.0), "action_units": (0.0, 1.0)}


@dataclass(frozen=True, eq=False)
class HeadTargets:
    """What is true for one head; None where the data does not say.

    Attributes:
        classes: (N,) the head's class, -1 where it has none for the image's label.
        votes: (N, classes) shares of the raters' votes, NaN where nobody voted for a class of the head.
        majority: (N,) the class with more votes than anything else, -1 where there is none.
        values: (N, columns), NaN where unknown.
        sequences: (N,) a number for each image, the same for those of one sequence; None where each is by itself.
    """

    classes: Ints | None = None
    votes: Floats | None = None
    majority: Ints | None = None
    values: Floats | None = None
    sequences: Ints | None = None


@dataclass(frozen=True, eq=False)
class Targets:
    """What is true for all heads, and what could not be matched.

    Attributes:
        heads: by name.
        subsets: masks (N,) by name.
        unmatched_classes: classes of the data that no head knows.
        left_out: images of those classes.
        missing_classes: classes of the first head with classes that the data does not hold.
        notes: further facts, a sentence each.
    """

    heads: Mapping[str, HeadTargets]
    subsets: Mapping[str, Bools] = field(default_factory=dict)
    unmatched_classes: tuple[str, ...] = ()
    left_out: int = 0
    missing_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sequences(self) -> tuple[int, ...]:
        """How many images each sequence has, in their order; empty where images are by themselves."""
        numbers = next(iter(self.heads.values())).sequences
        return () if numbers is None else tuple(np.unique(numbers, return_counts=True)[1].tolist())

    def lines(self) -> Iterator[str]:
        """All that could not be matched, and the notes, for people."""
        if self.unmatched_classes:
            names = _shortened(", ".join(self.unmatched_classes))
            yield f"no class of the network is {names}: their {self.left_out} images count in no label metric"
        if self.missing_classes:
            yield f"the data has no class {_shortened(', '.join(self.missing_classes))}"
        yield from self.notes


def find_targets(images: ImageSet, spec: Spec, table: Path | None = None) -> Targets:
    """Everything that images and an optional CSV file say about the heads of a network.

    Labels, vote columns and value columns are matched by name, never by position.  An `.npz` file may hold
    `ferplus_votes` (N, K) with `ferplus_columns`; `valence` and `arousal` (N,); `au` (N, K) with `au_columns`;
    and masks of subsets, bool (N,).

    Raises:
        InputError: the data has labels, and none is a class of the network; the CSV file or an array is malformed.
    """
    notes: list[str] = []
    choosers = [head for head in spec.outputs if chooses_class(head)]
    classes, unmatched, left_out, missing = _classes(images, choosers, notes)
    columns = {**_columns(images, spec, notes), **(_table(table, images, spec, notes) if table else {})}
    sequences = None
    if spec.is_of_sequences:
        begins = np.zeros(len(images), np.int64)
        begins[list(starts(images))] = 1
        sequences = begins.cumsum()
        notes.append(f"intervals and p are over {int(begins.sum())} sequences, whose frames are alike")
    heads = {}
    for head in spec.outputs:
        votes, majority = _votes(images, head, notes) if chooses_class(head) else (None, None)
        values = None if chooses_class(head) else _values(head, columns, len(images), notes)
        heads[head.name] = HeadTargets(classes.get(head.name), votes, majority, values, sequences)
    subsets = {name: mask for name, mask in images.arrays.items() if mask.dtype == bool and mask.ndim == 1}
    for name in [name for name, mask in subsets.items() if not mask.any()]:
        del subsets[name]
        notes.append(f"subset {name} holds no image")
    return Targets(heads, subsets, unmatched, left_out, missing, tuple(notes))


def _classes(
    images: ImageSet, heads: list[OutputSpec], notes: list[str]
) -> tuple[dict[str, Ints], tuple[str, ...], int, tuple[str, ...]]:
    if images.labels is None:
        return {}, (), 0, ()
    if not heads:
        notes.append("the images' classes are not used: no head of the network chooses a class")
        return {}, (), 0, ()
    matches = {head.name: match_labels(images.label_names, head.labels) for head in heads}
    known = {name for match in matches.values() for name in images.label_names if name not in match.unmatched_set}
    if not known:
        ours, theirs = ", ".join(images.label_names), ", ".join(heads[0].labels)
        raise InputError(
            f"{images.source}: none of its classes ({_shortened(ours)}) is one of the network's ({_shortened(theirs)})",
            remedy=_where_classes_are(images, heads)
            or "Name the classes as the network does, or leave the labels out.",
        )
    found = {}
    for name, match in matches.items():
        to_network = np.array([-1 if index is None else index for index in match.to_network], np.int64)
        if (to_network >= 0).any():
            found[name] = to_network[images.labels]
    unmatched = tuple(name for name in images.label_names if name not in known)
    is_unknown = np.array([name not in known for name in images.label_names])
    return found, unmatched, int(is_unknown[images.labels].sum()), matches[heads[0].name].unmatched_network


def _where_classes_are(images: ImageSet, heads: list[OutputSpec]) -> str:
    """Which folder to give, where the network's classes lie deeper in the one that was given; "" where they do not."""
    folders = sorted({PurePosixPath(name).parent for name in images.names})
    deeper = [folder for folder in folders if len(folder.parts) > 1]
    names = [folder.name for folder in deeper]
    for head in heads:
        for folder, index in zip(deeper, match_labels(names, head.labels).to_network, strict=True):
            if index is not None:
                return f"The network's classes lie deeper: evaluate on {PurePosixPath(images.source, folder.parent)}."
    return ""


def _votes(images: ImageSet, head: OutputSpec, notes: list[str]) -> tuple[Floats | None, Ints | None]:
    votes, names = images.arrays.get(VOTES), images.columns.get(VOTE_COLUMNS)
    if votes is None:
        return None, None
    if names is None or votes.ndim != 2 or len(names) != votes.shape[1]:
        raise InputError(
            f"{images.source}: `{VOTES}` is {votes.dtype} {votes.shape} and {len(names or ())} `{VOTE_COLUMNS}` name "
            "its columns; there must be one name per column"
        )
    votes = votes.astype(np.float64)
    if not np.isfinite(votes).all() or votes.min() < 0:
        raise InputError(f"{images.source}: `{VOTES}` holds numbers that are no counts of votes")
    match = match_labels(names, head.labels)
    counted = np.zeros((len(votes), len(head.labels)))
    for column, index in enumerate(match.to_network):
        if index is not None:
            counted[:, index] += votes[:, column]
    if not counted.any():
        return None, None
    other = np.array([index is None for index in match.to_network])
    rivals = np.concatenate([counted, votes[:, other]], axis=1)
    top = np.sort(rivals, axis=1)[:, -2:]
    winner = rivals.argmax(axis=1)
    is_decided = (top[:, 0] < top[:, 1]) & (winner < counted.shape[1])
    with np.errstate(invalid="ignore"):
        shares = counted / counted.sum(axis=1, keepdims=True)
    lacking = f": no class of the network is {', '.join(match.unmatched_set)}" if match.unmatched_set else ""
    notes.append(
        f"{VOTES}{lacking}; {int((counted.sum(axis=1) == 0).sum())} images have no vote for a class of the network, "
        f"and {int((~is_decided).sum())} no majority for one"
    )
    return shares, np.where(is_decided, winner, -1)


def _columns(images: ImageSet, spec: Spec, notes: list[str]) -> Mapping[str, Floats]:
    """Numbers per image by name: the (N,) arrays of an `.npz` file, and the columns of `au`."""
    found = {
        _key(name): array.astype(np.float64)
        for name, array in images.arrays.items()
        if array.ndim == 1 and array.dtype != bool
    }
    units = images.arrays.get(UNITS)
    if units is None:
        return found
    names = images.columns.get(UNIT_COLUMNS)
    head = next((head for head in spec.outputs if head.kind == "action_units"), None)
    if names is None and head is not None and units.ndim == 2 and units.shape[1] == len(head.labels):
        names = head.labels
        notes.append(f"`{UNITS}` has no `{UNIT_COLUMNS}`: its columns are taken to be {', '.join(names)}")
    if names is None or units.ndim != 2 or len(names) != units.shape[1]:
        raise InputError(
            f"{images.source}: `{UNITS}` is {units.dtype} {units.shape} and {len(names or ())} `{UNIT_COLUMNS}` name "
            "its columns; there must be one name per column"
        )
    return found | {_key(name): units[:, index].astype(np.float64) for index, name in enumerate(names)}


def _table(path: Path, images: ImageSet, spec: Spec, notes: list[str]) -> Mapping[str, Floats]:
    """Numbers per image by name, from a CSV file."""
    wanted = {_key(label) for head in spec.outputs if not chooses_class(head) for label in head.labels}
    by_name = _positions(images)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = {name: _key(name) for name in rows.fieldnames or ()}
            if "file" not in header or not wanted & set(header.values()):
                raise InputError(f"{path}: no targets for this network among its columns", remedy=CSV_FORMAT)
            found = {key: np.full(len(images), np.nan) for key in header.values() if key in wanted}
            seen: set[int] = set()
            strangers = 0
            for row in rows:
                position = by_name.get(row["file"] or "")
                if position is None:
                    strangers += 1
                    continue
                if position in seen:
                    raise InputError(f"{path}: line {rows.line_num} states {row['file']!r} a second time")
                seen.add(position)
                for name, key in header.items():
                    if key in found:
                        found[key][position] = _number(row[name], f"{path}: line {rows.line_num}, column {name!r}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from error
    if not seen:
        raise InputError(
            f"{path}: names none of the images of {images.source}",
            remedy=f"An image is called like {images.names[0]!r} there.",
        )
    ignored = [name for name, key in header.items() if name != "file" and key not in wanted]
    notes += [f"{path.name}: column {name} is no label of the network" for name in ignored]
    if strangers:
        notes.append(f"{path.name}: {strangers} rows name no image of {images.source}")
    if missing := len(images) - len(seen):
        notes.append(f"{path.name}: {missing} images have no row")
    return found


def _positions(images: ImageSet) -> dict[str, int]:
    """Index of each image by its name, and by its file name alone where that is unique."""
    short: dict[str, list[int]] = {}
    for index, name in enumerate(images.names):
        short.setdefault(PurePosixPath(name).name, []).append(index)
    unique = {name: indices[0] for name, indices in short.items() if len(indices) == 1}
    return unique | {name: index for index, name in enumerate(images.names)}


def _number(text: str | None, where: str) -> float:
    try:
        return float(text) if text and text.strip() else float("nan")
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not a number", remedy="Leave unknown targets empty.") from error


def _values(head: OutputSpec, columns: Mapping[str, Floats], count: int, notes: list[str]) -> Floats | None:
    found = [columns.get(_key(label)) for label in head.labels]
    if all(column is None for column in found):
        return None
    values = np.stack([np.full(count, np.nan) if column is None else column for column in found], axis=1)
    low, high = _RANGES.get(head.kind, (-np.inf, np.inf))
    for label, column in zip(head.labels, values.T, strict=True):
        outside = ~np.isnan(column) & ~((column >= low) & (column <= high) & np.isfinite(column))
        unknown = int(np.isnan(column).sum())
        column[outside] = np.nan
        if unknown or outside.any():
            limits = f"; {int(outside.sum())} outside [{low:g}, {high:g}] are left out" if outside.any() else ""
            notes.append(f"{label}: {unknown} of {count} images have no target{limits}")
    return values


def _key(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _shortened(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
