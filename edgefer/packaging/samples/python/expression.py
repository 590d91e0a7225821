"""What expression does a face crop show?  Runs anywhere that Python does; edgefer itself is not needed.

pip install numpy pillow ai-edge-litert     # or "onnxruntime>=1.25", for the .onnx file
python expression.py face.jpg               # a crop of one upright face
python expression.py group.jpg 31 40 90 90  # the box of a face in a picture: x, y, width, height
python expression.py --golden               # proves that this machine computes what it should

For faces in video, face_timeline.py says when to ask the network, and smooths its answers.  A network that carries
states, or reads clips (preprocessing.json says so), is shown every frame of a face, and `reset` where another begins.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
from collections.abc import Callable, Sequence
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from face_timeline import FaceTimeline, traces
from numpy.typing import NDArray
from PIL import Image

PACKAGE = Path(__file__).resolve().parents[2]
FILTERS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX", "nearest": "NEAREST"}
Infer = Callable[[list[NDArray[Any]]], list[NDArray[np.float32]]]
"""Outputs for inputs, each in their order: the image and states, the values and states."""


class ExpressionModel:
    """Pixels in, values by label out."""

    def __init__(self, path: Path, contract: dict[str, Any], labels: Sequence[str]) -> None:
        self.path, self.contract, self.labels = path, contract, labels
        self.integers = contract.get("integers", {}).get(path.suffix[1:], {})
        self.infer = (_litert if path.suffix == ".tflite" else _onnxruntime)(str(path))
        self.reset()

    @classmethod
    def load(cls, artifact: str = "") -> ExpressionModel:
        """The package's network: `tflite` or `onnx`, whichever there is and has its runtime installed."""
        contract = json.loads((PACKAGE / "preprocessing.json").read_text("utf-8"))
        labels = (PACKAGE / "labels.txt").read_text("utf-8").splitlines()
        choices = sorted(contract["artifacts"], key=lambda each: (not _is_installed(each), each == "onnx"))
        return cls(PACKAGE / contract["artifacts"][artifact or choices[0]], contract, labels)

    def __call__(self, image: Image.Image) -> dict[str, float]:
        """Value by label of an upright face crop, a PIL image of any size and mode."""
        return dict(zip(self.labels, map(float, self.run(self.pixels(image))), strict=True))

    def reset(self) -> None:
        """Another sequence begins: another face, or another video."""
        self.states = [np.zeros(state["shape"], np.float32) for state in self.contract.get("states", [])]
        self.frames: list[NDArray[np.uint8]] = []

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Values of all outputs, float32, of the next frame at the network's size: uint8 (height, width, 3), RGB."""
        found = self.infer(self.inputs(pixels))
        values = len(found) - len(self.states)
        self.states = found[values:]
        heads = zip(self.contract["outputs"], found[:values], strict=True)
        return np.concatenate([self.real(head["name"], output)[0] for head, output in heads])

    def inputs(self, pixels: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """What the network takes: the frame, of clips the last frames, the first for those before it; and states."""
        shape = self.contract["input"]["shape"]
        if len(shape) == 5:
            self.frames = [*(self.frames or [pixels] * shape[1])[1:], pixels]
            pixels = np.stack(self.frames)
        if (stored := self.integers.get("image")) is not None:
            pixels = (pixels / stored["scale"] + stored["zero_point"]).astype(stored["dtype"])
        return [pixels[np.newaxis], *self.states]

    def real(self, name: str, output: NDArray[Any]) -> NDArray[np.float32]:
        """What an output is: float32, or what its integers stand for where the contract says that they are some."""
        if (stored := self.integers.get(name)) is None:
            return output
        return np.asarray(stored["scale"] * (output.astype(np.float32) - stored["zero_point"]), np.float32)

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resized, and cropped if the contract says so, to the network's input; not normalised."""
        expected = self.contract["input"]
        *_, height, width, _ = expected["shape"]
        wide, tall = (width, height) if expected["fit"] == "stretch" else _covering(image.size, expected)
        resized = image.convert("RGB").resize((wide, tall), Image.Resampling[FILTERS[expected["resize"]]])
        left, top = round((wide - width) / 2), round((tall - height) / 2)
        return np.asarray(resized.crop((left, top, left + width, top + height)))


def _covering(size: tuple[int, int], expected: dict[str, Any]) -> tuple[int, int]:
    """Width and height that cover the input / crop_fraction, with the aspect ratio of the image."""
    *_, height, width, _ = expected["shape"]
    wide, tall = (int(side / expected["crop_fraction"]) for side in (width, height))
    if tall * size[0] >= wide * size[1]:
        return tall * size[0] // size[1], tall
    return wide, wide * size[1] // size[0]


def _is_installed(artifact: str) -> bool:
    return find_spec({"tflite": "ai_edge_litert", "onnx": "onnxruntime"}[artifact]) is not None


def _litert(path: str) -> Infer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=2)
    interpreter.allocate_tensors()
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()

    def infer(inputs: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        for source, array in zip(sources, inputs, strict=True):
            interpreter.set_tensor(source["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(target["index"]) for target in targets]

    return infer


def _onnxruntime(path: str, exact: bool | None = None) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if _saturates() if exact is None else exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [source.name for source in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def _saturates() -> bool:
    """Whether ONNX Runtime must be asked for exact sums: on x86 without VNNI; elsewhere that only costs time."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # another system than Linux, which does not tell
        return True


def golden() -> bool:
    """Run the package's golden tests on every artifact that has its runtime installed; whether all passed."""
    with (PACKAGE / "golden" / "expected.tsv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.reader(table, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    models = {artifact: ExpressionModel.load(artifact) for artifact in filter(_is_installed, {row[1] for row in rows})}
    passed = bool(models)
    for case, artifact, tolerance, *expected in rows:
        if (model := models.get(artifact)) is None:
            print(f"left out  {artifact:6} {case:10} its runtime is not installed")
            continue
        pixels = np.fromfile(PACKAGE / "golden" / f"{case}.rgb", np.uint8).reshape(
            model.contract["input"]["shape"][-3:]
        )
        resized = model.pixels(Image.open(PACKAGE / "golden" / f"{case}.png"))
        before = copy(model)
        difference = np.abs(model.run(pixels) - np.array(expected, float)).max()
        levels = np.abs(resized.astype(int) - pixels).max()
        held = difference <= float(tolerance) and levels <= 1
        print(f"{'passed' if held else 'FAILED'}  {artifact:6} {case:10} off by {difference:.4f}, pixels by {levels}")
        if artifact == "onnx" and difference > float(tolerance):
            before.infer = _onnxruntime(str(model.path), exact=True)
            if np.abs(before.run(pixels) - np.array(expected, float)).max() <= float(tolerance):
                print("        with session.x64quantprecision it passes: on this CPU ONNX Runtime's sums saturate")
        passed &= held
    return passed


if __name__ == "__main__":
    if sys.argv[1:] == ["--golden"]:
        sys.exit(0 if golden() & traces() else 1)
    if len(sys.argv) not in (2, 6):
        sys.exit(__doc__)
    shown = Image.open(sys.argv[1]).convert("RGB")
    if len(sys.argv) == 6:
        x, y, width, height = map(float, sys.argv[2:])
        shown = Image.fromarray(FaceTimeline.load().cut(np.asarray(shown), (x, y, width, height)))
    for label, value in ExpressionModel.load()(shown).items():
        print(f"{label:12} {value:6.3f}")
