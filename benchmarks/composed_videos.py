"""Videos whose truth is known exactly: labelled stills of faces on a background, that come, go, move, grow and change.

Each actor is made of stills that nobody else has.  Where several people make up a data set that does not say who is
who, as FER2013, an actor is a chimera of them: followed by place and time it is one face, and its expression at any
moment is the label of the still that is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise, repeat
from pathlib import Path

import cv2
import numpy as np

from edgefer.faces.face import Face
from edgefer.images import Image
from edgefer.timeline.events import Event
from edgefer.timeline.smoothing import GAP_S
from edgefer.video.frames import Frame

SIZE = (640, 480)
FPS = 30.0
FADE_S = 0.1
"""One still becomes the next in so long."""

_SIDE = 96  # pixels of a still in its patch
_ROOM = 40  # around it, in which it fades into the background
_NOISE = 2.0  # standard deviation of pixels from frame to frame


@dataclass(frozen=True, eq=False)
class Still:
    """A labelled picture of a face."""

    image: Image
    label: str


@dataclass(frozen=True, eq=False)
class Showing:
    """A still, shown from a time on."""

    start_s: float
    still: Still


@dataclass(frozen=True, eq=False)
class Actor:
    """A face of a video.

    Attributes:
        showings: its stills, by their times.
        way: middle (x, y) and side of its face at a time, in pixels.
        present: when it is there, seconds.
    """

    showings: Sequence[Showing]
    way: Callable[[float], tuple[float, float, float]]
    present: Sequence[tuple[float, float]]

    def box(self, time_s: float) -> Face | None:
        """Where its face is."""
        if not any(start <= time_s < end for start, end in self.present):
            return None
        x, y, side = self.way(time_s)
        return Face(x - side / 2, y - side / 2, side, side)

    def label(self, time_s: float) -> str:
        """What it shows."""
        return [showing.still.label for showing in self.showings if showing.start_s <= time_s][-1]


@dataclass(frozen=True, eq=False)
class Composition:
    """A video to be made; also a source of frames, without a file between.

    Attributes:
        name: of the source.
        actors: its faces, those in front last.
        duration_s: how long it lasts.
        seed: of background and noise.
        fps: frames per second.
    """

    name: str
    actors: Sequence[Actor]
    duration_s: float
    seed: int = 0
    fps: float = FPS
    digest = ""

    @property
    def expected(self) -> int:
        """Number of its frames."""
        return round(self.duration_s * self.fps)

    def frames(self) -> Iterator[Frame]:
        """Every frame."""
        rng = np.random.default_rng(self.seed)
        noise = [rng.standard_normal((SIZE[1], SIZE[0], 3), np.float32) * np.float32(_NOISE) for _ in range(3)]
        plain = _background(rng)
        backgrounds = [np.clip(plain + each, 0, 255).astype(np.uint8) for each in noise]
        patches: dict[int, np.ndarray] = {}
        for index in range(self.expected):
            time_s = index / self.fps
            picture = backgrounds[index % len(backgrounds)].copy()
            for actor in self.actors:
                if (box := actor.box(time_s)) is not None:
                    paste(picture, _patch(actor, time_s, patches), box, np.roll(noise[0], index, axis=0))
            yield Frame(index, round(time_s, 6), picture)

    def write(self, path: Path, times: int = 1) -> Path:
        """Make a video file, of the same over and over where that is asked."""
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), self.fps, SIZE)
        pictures: Iterable[Image] = (frame.image for frame in self.frames())
        for picture in chain.from_iterable(repeat(list(pictures), times)) if times > 1 else pictures:
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        writer.release()
        return path

    def boxes(self) -> Iterator[tuple[int, int, Face]]:
        """Frame, actor and box, of all that is to be seen."""
        for index in range(self.expected):
            for number, actor in enumerate(self.actors):
                if (box := actor.box(index / self.fps)) is not None:
                    yield index, number, box

    def events(self, rest: str, bridged_s: float = GAP_S) -> list[Event]:
        """When something else than `rest` shows, of each actor; an absence longer than `bridged_s` ends it."""
        return [
            Event(self.name, number, label, start, start, end, 1.0)
            for number, actor in enumerate(self.actors)
            for here, gone in _bridged(actor.present, bridged_s)
            for label, start, end in _stretches(actor, here, min(gone, self.duration_s))
            if label != rest
        ]


def unambiguous_stills(path: Path, share: float) -> list[Still]:
    """FER2013's faces in a file that carries the votes of FER+, where such a share of voters agrees with the label."""
    with np.load(path) as data:
        images, labels, votes = data["images"], data["labels"], data["ferplus_votes"]
        names, voted = list(map(str, data["label_names"])), list(map(str, data["ferplus_columns"]))
    column = [voted.index(next(name for name in voted if name[:3] == label[:3])) for label in names]
    agree = votes[np.arange(len(labels)), np.array(column)[labels]] / np.maximum(votes.sum(axis=1), 1)
    return [Still(cv2.merge([images[i]] * 3), names[labels[i]]) for i in map(int, np.flatnonzero(agree >= share))]


def parts(labels: Iterable[str], stills: Sequence[Still], lasting: Sequence[float], each_s: float) -> list[Showing]:
    """Stills one after the other: of each label in turn, for as long as it lasts, a new one every `each_s` seconds.

    Args:
        labels: in the order in which they are shown.
        stills: what there is; no label is shown by a still twice in a row.
        lasting: seconds of each label.
        each_s: after which another still of the label follows.
    """
    by_label: dict[str, list[Still]] = {}
    for still in stills:
        by_label.setdefault(still.label, []).append(still)
    found, time_s = [], 0.0
    for label, seconds in zip(labels, lasting, strict=True):
        until = time_s + seconds
        while time_s < until - 1e-6:
            here = by_label[label]
            found.append(Showing(time_s, here[0]))
            here.append(here.pop(0))
            time_s = min(time_s + each_s, until)
    return found


def _bridged(present: Sequence[tuple[float, float]], bridged_s: float) -> list[tuple[float, float]]:
    joined = [present[0]]
    for start, end in present[1:]:
        if start - joined[-1][1] <= bridged_s:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _stretches(actor: Actor, here: float, gone: float) -> Iterator[tuple[str, float, float]]:
    """Each label, from when to when it shows."""
    changes = [here, *(showing.start_s for showing in actor.showings if here < showing.start_s < gone), gone]
    for label, group in groupby(pairwise(changes), key=lambda change: actor.label(change[0])):
        stretch = list(group)
        yield label, stretch[0][0], stretch[-1][1]


def _patch(actor: Actor, time_s: float, made: dict[int, np.ndarray]) -> np.ndarray:
    """The still of a time, faded into from the one before; float32 (side, side, 4), the last its opacity."""
    shown = [showing for showing in actor.showings if showing.start_s <= time_s]
    now = patch_of(shown[-1].still, made)
    share = (time_s - shown[-1].start_s) / FADE_S
    if len(shown) < 2 or share >= 1:
        return now
    blended: np.ndarray = now * np.float32(share) + patch_of(shown[-2].still, made) * np.float32(1 - share)
    return blended


def patch_of(still: Still, made: dict[int, np.ndarray]) -> np.ndarray:
    """A still with its surroundings, which repeat its edge, more and more blurred."""
    if id(still) not in made:
        image = cv2.resize(still.image, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
        wide = cv2.copyMakeBorder(image, _ROOM, _ROOM, _ROOM, _ROOM, cv2.BORDER_REPLICATE)
        patch = cv2.GaussianBlur(wide, (0, 0), _SIDE / 12).astype(np.float32)
        patch[_ROOM : _ROOM + _SIDE, _ROOM : _ROOM + _SIDE] = image
        along = np.abs(np.arange(len(patch)) - (len(patch) - 1) / 2) / (len(patch) / 2)
        away = np.maximum.outer(along, along)
        inner = _SIDE / len(patch)
        opacity = np.clip((1 - away) / (1 - inner), 0, 1).astype(np.float32)
        made[id(still)] = np.dstack([patch, opacity])
    return made[id(still)]


def paste(picture: Image, patch: np.ndarray, box: Face, noise: np.ndarray | float = 0.0) -> None:
    """Put a patch into a picture, in place, its still where the box is; places between pixels count."""
    scale = box.width / _SIDE
    left, top = box.x - _ROOM * scale, box.y - _ROOM * scale
    side = len(patch) * scale
    x0, y0 = max(int(np.floor(left)), 0), max(int(np.floor(top)), 0)
    x1 = min(int(np.ceil(left + side)), picture.shape[1])
    y1 = min(int(np.ceil(top + side)), picture.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    matrix = np.array([[scale, 0, left - x0 + scale / 2 - 0.5], [0, scale, top - y0 + scale / 2 - 0.5]])
    warped = cv2.warpAffine(patch, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    here = picture[y0:y1, x0:x1].astype(np.float32)
    shaken = noise[: y1 - y0, : x1 - x0] if isinstance(noise, np.ndarray) else noise
    here += (warped[..., :3] + shaken - here) * warped[..., 3:]
    picture[y0:y1, x0:x1] = np.clip(here, 0, 255)


def _background(rng: np.random.Generator) -> np.ndarray:
    """Soft patterns in dull colours; float32."""
    light, tint, grain = (
        cv2.resize(each.astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
        for each in (rng.uniform(50, 200, (6, 8, 1)), rng.uniform(-25, 25, (3, 4, 3)), rng.normal(0, 3, (48, 64, 3)))
    )
    return np.clip(light[..., np.newaxis] + tint + grain, 0, 255).astype(np.float32)
