"""Golden tests: what the artifacts say about images that we drew, so that an app can prove its integration.

Of a network that looks at more than one image the drawings are a sequence, shown again and again: each answer follows
from all before it.

golden/NAME.png        an image of any size
golden/NAME.rgb        exactly the input that it becomes: H * W * 3 bytes, row by row, red first
golden/expected.tsv    what each artifact says about that input, and how far another machine may be off
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt

from edgefer.bundle import Bundle
from edgefer.images.decode import decode
from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import Pixels, open_runner
from edgefer.spec import Spec

TOLERANCE: Mapping[str, float] = {"tflite": 0.02, "onnx": 0.02}
"""How far any output may be from the expected one, by format: five steps of the 1/256 that int8 probabilities have.

Kernels for other processors round otherwise.  Swapping red and blue moves most drawn faces by five times as much and
more, where the network has learned from colour images.
"""

FRAMES = 100
"""Of the sequence."""

_DECIMALS = 6


@dataclass(frozen=True)
class GoldenCase:
    """One image, the input that it becomes, and what the artifacts say.

    Attributes:
        name: what is drawn.
        image: PNG file.
        pixels: uint8 (h, w, 3), RGB, at the network's size; of a sequence, its next frame.
        expected: by format, float32: the values of all outputs one after the other, as labels.txt names them.
    """

    name: str
    image: bytes
    pixels: Pixels
    expected: Mapping[str, npt.NDArray[np.float32]]


def golden_cases(bundle: Bundle) -> list[GoldenCase]:
    """Run the int8 artifacts of a bundle on all drawings."""
    runners = {
        artifact.format: open_runner(bundle.path / artifact.file, artifact.format, spec=bundle.spec)
        for artifact in bundle.artifacts
        if not artifact.is_reference
    }
    spec, drawings = bundle.spec, list(_drawings())
    frames = FRAMES if spec.is_of_sequences else len(drawings)
    cases = []
    for name, image in islice(cycle(drawings), frames):
        pixels = to_pixels(decode(image), bundle.spec.input)
        expected = {}
        for format, runner in runners.items():
            heads = runner(pixels)
            expected[format] = np.concatenate([heads[output.name] for output in bundle.spec.outputs])
        cases.append(GoldenCase(name, image, pixels, expected))
    return cases


def golden_files(cases: Sequence[GoldenCase], spec: Spec) -> dict[str, bytes]:
    """The files of the golden tests, and the labels that name their values, by path."""
    labels = [label for output in spec.outputs for label in output.labels]
    contents = {"labels.txt": "".join(f"{label}\n" for label in labels).encode()}
    for case in cases:
        contents[f"golden/{case.name}.png"] = case.image
        contents[f"golden/{case.name}.rgb"] = case.pixels.tobytes()
    contents["golden/expected.tsv"] = _expected(cases, labels).encode()
    return contents


def _drawings() -> Iterator[tuple[str, bytes]]:
    folder = files(__package__).joinpath("drawings")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".png"):
            yield file.name.removesuffix(".png"), file.read_bytes()


def _expected(cases: Sequence[GoldenCase], labels: Sequence[str]) -> str:
    """A table with tabs between columns, which the names of labels cannot hold."""
    rows = [["case", "artifact", "tolerance", *labels]]
    for case in cases:
        for format, values in case.expected.items():
            rows.append([case.name, format, f"{TOLERANCE[format]:g}", *(f"{value:.{_DECIMALS}f}" for value in values)])
    return "".join("\t".join(row) + "\n" for row in rows)
