"""How a detector's boxes must be cut for the bundled network: accuracy over margins, on faces pasted into pictures.

    python benchmarks/crop_margin.py BUNDLE FACES.npz [--detector yunet.onnx]

FACES are crops as the network was trained on.  Each is pasted, blended into its surroundings, into a larger picture at
a random size and place; a detector finds it there, and it is cut out again by its box with different margins.  What
margin gives back the crop, and what accuracy is lost beside it, is the table that is written to results/crop_margin.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from measured import signed

from edgefer.bundle import Bundle
from edgefer.evaluation.heads import chooses_class
from edgefer.faces.crop import cut_out
from edgefer.faces.detectors import BLAZEFACE, detector_maker
from edgefer.faces.face import Face, overlap
from edgefer.images import Image, ImageSet, match_labels, open_images
from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import open_runner
from edgefer.spec import CropSpec

RESULT = Path(__file__).parent / "results" / "crop_margin.md"
PICTURE = (480, 640)
SIDES = (80, 200)
FACES = 700
MARGINS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def main() -> None:
    """Measure, print and write the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("faces", type=Path)
    arguments.add_argument("--detector", default=BLAZEFACE)
    given = arguments.parse_args()
    table = measure(Bundle.open(given.bundle), open_images(given.faces), given.detector)
    print(table)
    RESULT.write_text(signed(table, "faces", "images"), "utf-8")


def measure(bundle: Bundle, images: ImageSet, detector: str) -> str:
    """The table, and what it says."""
    spec = bundle.spec
    head = next(output for output in spec.outputs if chooses_class(output))
    assert images.labels is not None
    matched = match_labels(images.label_names, head.labels).to_network
    truth = [matched[label] for label in images.labels]
    run = open_runner(bundle.artifact("tflite"), "tflite")
    find = detector_maker(detector)()

    def is_right(image: Image, label: int) -> bool:
        return int(run(to_pixels(image, spec.input))[head.name].argmax()) == label

    chosen = np.linspace(0, len(images) - 1, FACES).astype(int)
    ratios, right = [], dict.fromkeys(_ways(), 0)
    found = as_trained = 0
    for index, picture, place in _pictures(images, chosen):
        label = truth[index]
        face = max(find(picture, "", 0), key=lambda each: overlap(each, place), default=None)
        if label is None or face is None or overlap(face, place) < 0.3:
            continue
        found += 1
        as_trained += is_right(images.read(index), label)
        ratios.append(
            (
                place.width / face.width,
                place.height / face.height,
                (place.x + place.width / 2 - face.x - face.width / 2) / face.width,
                (place.y + place.height / 2 - face.y - face.height / 2) / face.height,
            )
        )
        for way in right:
            right[way] += is_right(cut_out(picture, face, way), label)
    wide, tall, aside, down = np.median(ratios, axis=0)
    name = detector if detector == BLAZEFACE else "YuNet"
    lines = [
        f"# Crops of {name} for {bundle.name}",
        "",
        f"{found} of {len(chosen)} faces were found again.  The crop that the network was trained on is {wide:.2f} "
        f"times as wide and {tall:.2f} times as tall as the box (medians), its middle {aside:+.2f} of the box's width "
        f"and {down:+.2f} of its height away.  On the crops themselves, {100 * as_trained / found:.1f} % are right.",
        "",
        "| margin | right, % | right if squared, % |",
        "|---:|---:|---:|",
    ]
    for margin in MARGINS:
        shares = (100 * right[CropSpec(margin, square)] / found for square in (False, True))
        lines.append(f"| {margin:+.2f} | " + " | ".join(f"{share:.1f}" for share in shares) + " |")
    best = max(right, key=lambda way: right[way])
    lines += ["", f"Best: margin {best.margin:+.2f}, {'squared' if best.square else 'not squared'}."]
    return "\n".join(lines) + "\n"


def _ways() -> Iterator[CropSpec]:
    for margin in MARGINS:
        yield CropSpec(margin, False)
        yield CropSpec(margin, True)


def _pictures(images: ImageSet, chosen: np.ndarray) -> Iterator[tuple[int, Image, Face]]:
    """Each chosen face in a picture of its own, and where it is there."""
    rng = np.random.default_rng(0)
    for index in map(int, chosen):
        side = int(rng.integers(*SIDES))
        top, left = (int(rng.integers(0, length - side)) for length in PICTURE)
        face = cv2.resize(images.read(index), (side, side), interpolation=cv2.INTER_CUBIC)
        rows = np.clip(np.arange(PICTURE[0]) - top, -side // 3, side + side // 3)
        columns = np.clip(np.arange(PICTURE[1]) - left, -side // 3, side + side // 3)
        surroundings = face[np.clip(rows, 0, side - 1)[:, np.newaxis], np.clip(columns, 0, side - 1)]
        picture = cv2.GaussianBlur(surroundings, (0, 0), side / 12)
        picture[top : top + side, left : left + side] = face
        yield index, picture, Face(left, top, side, side)


if __name__ == "__main__":
    main()
