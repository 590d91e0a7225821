"""The videos that `video.py` composes: who is in them, and what they do."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.composed_videos import FPS, SIZE, Actor, Composition, Still, parts, paste, patch_of, unambiguous_stills
from edgefer.faces.blazeface import BlazeFace
from edgefer.faces.face import Face, overlap
from edgefer.host.detector_weights import blazeface_weights
from edgefer.images import Image

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
REST = "neutral"
SECONDS = 20.0
EACH_S = 1.5
"""So long each still is shown."""

_SHARE = 0.7  # of FER+'s voters, who agree with the label
_NAMES = {"happiness": "happy", "sadness": "sad", "anger": "angry"}


def gray_videos(actors: int) -> list[Composition]:
    """Of FER2013's public test, faces whose labels most voters agree with."""
    return _compose("gray", _findable(unambiguous_stills(SHARED / "fer2013_public.npz", _SHARE)), actors)


def colour_videos(actors: int) -> list[Composition]:
    """Of the colour faces, whose labels are noisy."""
    stills = []
    with zipfile.ZipFile(SHARED / "faces_rgb.zip") as archive:
        for name in sorted(each for each in archive.namelist() if each.endswith(".jpg")):
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR_RGB)
            folder = Path(name).parent.name
            stills.append(Still(_squared(image), _NAMES.get(folder, folder)))
    return _compose("colour", _findable(stills), actors)


def _squared(image: np.ndarray) -> np.ndarray:
    side = max(image.shape[:2])
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    border = (top, side - image.shape[0] - top, left, side - image.shape[1] - left)
    return cv2.copyMakeBorder(image, *border, cv2.BORDER_REPLICATE)


def _findable(stills: Sequence[Still]) -> list[Still]:
    """Those that the detector finds at rest, at three sizes on two grounds: most of FER2013 is cut too close for it."""
    detector = BlazeFace(blazeface_weights())
    grounds = [next(Composition("", (), 1 / FPS, seed).frames()).image for seed in (101, 102)]

    def is_found(still: Still, side: float, ground: Image) -> bool:
        picture, place = ground.copy(), Face((SIZE[0] - side) / 2, (SIZE[1] - side) / 2, side, side)
        paste(picture, patch_of(still, {}), place)
        return any(overlap(face, place) >= 0.3 for face in detector(picture))

    return [s for s in stills if all(is_found(s, side, ground) for side in (115, 145, 180) for ground in grounds)]


def _compose(kind: str, stills: Sequence[Still], actors: int) -> list[Composition]:
    """Videos of one or two faces that sway, approach, come, go and are out of sight shortly."""
    rng = np.random.default_rng(0)
    by_label: dict[str, list[Still]] = {}
    for index in rng.permutation(len(stills)):
        by_label.setdefault(stills[index].label, []).append(stills[index])
    shares = {label: len(own) // actors for label, own in by_label.items()}
    cast = [
        [still for label, own in by_label.items() for still in own[shares[label] * a : shares[label] * (a + 1)]]
        for a in range(actors)
    ]
    videos, number = [], 0
    while number < actors:
        pair = number % 3 == 1 and number + 1 < actors
        people = cast[number : number + 1 + pair]
        videos.append(
            Composition(
                f"{kind}{len(videos):02}",
                tuple(_actor(rng, own, place, len(people)) for place, own in enumerate(people)),
                SECONDS,
                seed=len(videos),
            )
        )
        number += len(people)
    return videos


def _actor(rng: np.random.Generator, own: Sequence[Still], place: int, of: int) -> Actor:
    """Neutral and something else in turns, each for 3 to 6 s."""
    others = sorted({still.label for still in own} - {REST})
    counts = np.array([sum(still.label == label for still in own) for label in others], float)
    labels, lasting = [], []
    while sum(lasting) < SECONDS:
        labels.append(str(rng.choice(others, p=counts / counts.sum())) if len(labels) % 2 else REST)
        lasting.append(float(rng.choice([3.0, 4.5, 6.0])))
    x, y, side = SIZE[0] * (place + 1) / (of + 1), SIZE[1] / 2 + rng.uniform(-30, 30), rng.uniform(130, 165)
    sway, growth, phase = rng.uniform(5, 45), rng.uniform(-0.7, 1.2), rng.uniform(0, 6)

    def way(time_s: float) -> tuple[float, float, float]:
        return (
            x + sway * np.sin(0.7 * time_s + phase),
            y + 0.4 * sway * np.cos(0.5 * time_s + phase),
            side + growth * time_s + 1.5 * np.sin(2.1 * time_s),
        )

    begin = 0.0 if place == 0 else float(rng.uniform(2, 6))
    blink, leave = float(rng.uniform(7, 9)), float(rng.uniform(13, 15))
    gaps = [(begin, blink), (blink + 0.4, leave), (leave + 1.5, SECONDS)]
    return Actor(parts(labels, own, lasting, EACH_S), way, gaps)
