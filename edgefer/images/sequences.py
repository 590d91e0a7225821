"""Sequences: frames that follow each other, for networks that look at more than one.

The frames of a folder are a sequence, by the numbers in their names; of an `.npz` file those of one `sequence`, in the
order of their rows, which lie in a folder of that name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PurePosixPath

import numpy as np

from edgefer.errors import InputError
from edgefer.host.text import by_numbers
from edgefer.images.image_set import Image, ImageSet, Reader, evenly
from edgefer.images.readers import ArrayReader
from edgefer.images.split import split
from edgefer.spec import Spec

FORMATS = (
    "A sequence set is a folder or .zip with a folder of frames for each sequence, in the order of their names (with\n"
    "  classes: CLASS/SEQUENCE/), or an .npz file with an array `sequence` (N,), the same for frames of one sequence."
)


def split_sequences(
    images: ImageSet, spec: Spec, calibrate: int = 512, hold_back: int = 256
) -> tuple[ImageSet, ImageSet]:
    """Two disjoint parts of a set, as `split` makes them and `in_sequences` puts them; none has frames of one sequence.

    Raises:
        InputError: as for `in_sequences`.
    """
    if not spec.is_of_sequences:
        return split(images, calibrate, hold_back)
    found = list(sequences(images).values())
    whole = _of_clips(images, found)
    members = dict(zip(whole.names, found, strict=True))
    average = len(images) / len(found) / (spec.input.frames or 1)
    parts = split(whole, *(max(round(count / average), 1) for count in (calibrate, hold_back)))
    calibration, held_back = (images.select(index for name in part.names for index in members[name]) for part in parts)
    return in_sequences(calibration, spec), in_sequences(held_back, spec)


def in_sequences(images: ImageSet, spec: Spec) -> ImageSet:
    """The set as a network is shown it: one sequence after the other, of clips where it reads those.

    A clip is as many frames as the Spec says, without overlap; a rest that is no clip is left out.  What is known of it
    is what is known of its last frame.  Sets of networks that look at one image are handed back as they are.

    Raises:
        InputError: the set has no sequences, or one that is shorter than a clip.
    """
    frames = spec.input.frames
    if not spec.is_of_sequences:
        return images
    found = list(sequences(images).values())
    if not isinstance(images.reader, ArrayReader) and all(name.count("/") == 1 for name in images.names):
        images = replace(images, labels=None, label_names=())  # folders that are sequences, and no classes
    if frames is None:
        return images.select(index for members in found for index in members)
    if short := next((members for members in found if len(members) < frames), None):
        name = str(PurePosixPath(images.names[short[0]]).parent)
        raise InputError(
            f"{images.source}: sequence {name!r} has {len(short)} frames, and the network reads clips of {frames}",
            remedy="Leave it out, or give longer ones.",
        )
    clips = [members[at : at + frames] for members in found for at in range(0, len(members) - frames + 1, frames)]
    return _of_clips(images, clips)


def sequences(images: ImageSet) -> Mapping[str, Sequence[int]]:
    """Indices of the frames of each sequence, by its name, in their order.

    Raises:
        InputError: nothing says which images belong together.
    """
    folders: dict[str, list[int]] = {}
    for index, name in enumerate(images.names):
        folders.setdefault(str(PurePosixPath(name).parent), []).append(index)
    if "." in folders and isinstance(images.reader, ArrayReader):
        raise InputError(f"{images.source}: nothing says which of its images follow each other", remedy=FORMATS)
    return {name: sorted(members, key=lambda i: by_numbers(images.names[i])) for name, members in folders.items()}


def starts(images: ImageSet) -> Iterator[int]:
    """Where sequences begin in a set that is in sequences."""
    before = None
    for index, name in enumerate(images.names):
        if (folder := PurePosixPath(name).parent) != before:
            yield index
        before = folder


def sample(images: ImageSet, most: int | None, spec: Spec) -> ImageSet:
    """At most so many images from all over a set that `in_sequences` made; all of them when None.

    Of networks with states whole sequences, or the beginning of one.
    """
    if most is None or most >= len(images):
        return images
    if not spec.states:
        return images.select(len(images) * (2 * step + 1) // (2 * most) for step in range(most))
    found = list(sequences(images).values())
    average = len(images) / len(found)
    chosen = [index for at in evenly(len(found), max(int(most / average), 1)) for index in found[at]]
    return images.select(chosen[:most])


@dataclass(frozen=True, eq=False)
class _ClipReader:
    """Reads clips: frames of a set, uint8 (T, H, W, 3).

    Attributes:
        frames: reads a frame.
        clips: the names of each clip's frames, by its own.
    """

    frames: Reader
    clips: Mapping[str, Sequence[str]]

    def __call__(self, name: str) -> Image:
        """See `Reader`."""
        frames = [self.frames(frame) for frame in self.clips[name]]
        if len({frame.shape for frame in frames}) > 1:
            raise InputError(f"frames of clip {name!r} have different sizes", remedy="Bring them to one.")
        return np.stack(frames)

    def only(self, names: Iterable[str], *, carried: bool = False) -> _ClipReader:
        """See `Reader`."""
        clips = {name: self.clips[name] for name in names}
        read = list(dict.fromkeys(frame for clip in clips.values() for frame in clip))
        return _ClipReader(self.frames.only(read, carried=carried), clips)


def _of_clips(images: ImageSet, clips: Sequence[Sequence[int]]) -> ImageSet:
    names = [[images.names[index] for index in clip] for clip in clips]
    own = tuple(f"{clip[0]}..{PurePosixPath(clip[-1]).name}" for clip in names)
    digests = (sha256("".join(images.digests[index] for index in clip).encode()) for clip in clips)
    return replace(
        images.select(clip[-1] for clip in clips),
        names=own,
        digests=tuple(digest.hexdigest() for digest in digests),
        reader=_ClipReader(images.reader, dict(zip(own, names, strict=True))),
    )
