"""Choosing calibration images, and holding others back from calibration to judge its result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from edgefer.images.image_set import ImageSet

HELD_BACK_SHARE = 5


@dataclass(frozen=True)
class CalibrationImages:
    """Two disjoint sets of images, and where they come from.

    Attributes:
        source: what the user, and the manifest, call it.
        calibration: statistics are collected on these.
        held_back: artifacts are compared with the float network on these.
    """

    source: str
    calibration: ImageSet
    held_back: ImageSet


def split(image_set: ImageSet, calibrate: int = 512, hold_back: int = 256) -> tuple[ImageSet, ImageSet]:
    """Two disjoint parts of a set: images to calibrate on, and held-back images to judge by.

    A fifth of the images, at most `hold_back` and at least one of two, is held back, each class in
    proportion.  Of the rest, up to `calibrate` are chosen, as many of each class as there are.  Images
    of equal content count once.  The choice follows the images' content alone: it is the same on every
    machine, and does not depend on names or order.  Both parts keep the set's order.
    """
    first_of = {digest: index for index, digest in reversed(list(enumerate(image_set.digests)))}
    by_class: dict[int, list[int]] = {}
    for _, index in sorted(first_of.items()):
        by_class.setdefault(-1 if image_set.labels is None else int(image_set.labels[index]), []).append(index)
    spread = [index for _, members in sorted(by_class.items()) for index in members]
    count = min(hold_back, max(len(spread) // HELD_BACK_SHARE, 1), len(spread) - 1)
    held_back = {spread[(2 * step + 1) * len(spread) // (2 * count)] for step in range(count)}
    rest = ([index for index in members if index not in held_back] for members in by_class.values())
    turns = [index for turn in zip_longest(*rest) for index in turn if index is not None]
    return image_set.select(sorted(turns[:calibrate])), image_set.select(sorted(held_back))
