"""The ImageSet: images in a fixed order, each known by name and content, read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]


class Reader(Protocol):
    """Reads images, or clips, by name; can be pickled."""

    def __call__(self, name: str) -> Image:
        """The image, uint8 (H, W, 3), RGB; of a clip (T, H, W, 3).

        Raises:
            InputError: the source changed after it was opened.
        """
        ...

    def only(self, names: Iterable[str], *, carried: bool = False) -> Reader:
        """What reads these images alone; `carried`: has them in memory.

        Raises:
            InputError: the source changed after it was opened.
        """
        ...


@dataclass(frozen=True)
class Skipped:
    """An image that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that are known to be readable, in a fixed order.

    Attributes:
        source: name of the folder or file, without the path to it.
        names: one per image, unique.
        digests: SHA-256 of each image's stored content, as hex; equal for equal images.
        reader: reads the image of a name.
        labels: int64 index into `label_names` per image, None when the set has no labels.
        label_names: the classes as the source calls them; empty when it has no labels.
        skipped: images of the source that cannot be used.
        passed_over: what else the source holds: how many files of each kind, by the suffix of their names.
        arrays: what else an `.npz` file says of each image, by name: numbers (N,) or (N, K); and what a network carries
            when it is shown that image, (N, ...).
        columns: lists of strings in an `.npz` file, by name, which tell what an array's columns are.
    """

    source: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    reader: Reader
    labels: npt.NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of names, contents and labels, whatever holds them: folder, zip, compressed or not."""
        digest = sha256()
        labels = [""] * len(self) if self.labels is None else [self.label_names[label] for label in self.labels]
        for fields in zip(self.names, self.digests, labels, strict=True):
            digest.update("\0".join((*fields, "")).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(self, index: int) -> Image:
        """Image `index` as uint8 (H, W, 3), RGB; of a set of clips (T, H, W, 3).

        Raises:
            InputError: the source changed after it was opened.
        """
        return self.reader(self.names[index])

    def select(self, indices: Iterable[int]) -> ImageSet:
        """The images at `indices`, in that order; label names stay."""
        chosen = list(indices)
        return replace(
            self,
            names=tuple(self.names[index] for index in chosen),
            digests=tuple(self.digests[index] for index in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            arrays={name: array[chosen] for name, array in self.arrays.items()},
        )

    def sent(self, indices: Iterable[int], *, carried: bool) -> ImageSet:
        """The images at `indices` alone, to be read elsewhere; `carried`: they go along."""
        chosen = self.select(indices).unlabelled()
        return replace(chosen, reader=self.reader.only(chosen.names, carried=carried), skipped=(), passed_over={})

    def some(self, most: int) -> ImageSet:
        """At most so many images, from all over the set."""
        return self.select(evenly(len(self), most))

    def unlabelled(self) -> ImageSet:
        """The same images, and nothing of what the source says about them."""
        return replace(self, labels=None, label_names=(), arrays={}, columns={})

    def skipped_lines(self, limit: int = 10) -> tuple[str, ...]:
        """One line per skipped image for people to read, at most `limit` and a count of the rest."""
        lines = [f"skipped {image.name}: {image.reason}" for image in self.skipped[:limit]]
        if (more := len(self.skipped) - limit) > 0:
            lines.append(f"skipped {more} more")
        return tuple(lines)

    def passed_over_lines(self) -> tuple[str, ...]:
        """What else the source holds, in a line, if anything."""
        if not self.passed_over:
            return ()
        return (f"passed over, as no images that can be read: {listed(self.passed_over)}",)


def evenly(size: int, most: int) -> list[int]:
    """At most `most` of `size` positions, evenly spaced, the first among them."""
    count = min(most, size)
    return [index * size // count for index in range(count)]


def listed(kinds: Mapping[str, int], limit: int = 6) -> str:
    """Kinds of files, with how many there are of each, most first; at most `limit` kinds, and a count of the rest."""
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    parts = [f"{count} {kind}" for kind, count in ordered[:limit]]
    if more := sum(count for _, count in ordered[limit:]):
        parts.append(f"{more} of other kinds")
    return ", ".join(parts)
