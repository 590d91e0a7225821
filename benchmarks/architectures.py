"""Every EfficientNet of timm that is read from its tensors, against timm's own module.

    python -m benchmarks.architectures [PATTERN]

needs torch and timm (not torchvision); takes about ten minutes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.measured import signed
from edgefer.graph.onnx_io import to_onnx
from edgefer.networks.families import load_network

RESULT = Path(__file__).resolve().parent / "results" / "architectures.md"
SIZE = (75, 64)
"""Odd and even sides: "same" padding pads them differently."""

CLASSES = 7
BOUND = 1e-4
READ = re.compile(
    r"(tf_)?efficientnet_(b\d|lite\d|e[sml])(_pruned)?|(tf_)?efficientnetv2_(b\d|s|m|l|xl|rw_[tsm])|mobilenetv2_\w+|tinynet_\w"
)


class _Anything(type):
    def __getattr__(cls, name: str) -> str:
        return name


class _Stub(ModuleType):
    """A module in which every class is found, and of no use."""

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


def stand_ins() -> dict[str, ModuleType]:
    """Of the parts of torchvision that timm imports and that are not needed here."""
    parts = ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc", ".models", ".models.feature_extraction")
    stubs: dict[str, ModuleType] = {
        name: _Stub(name) for name in (f"torchvision{part}" for part in (*parts, ".datasets"))
    }
    for name, stub in stubs.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(stubs[parent], child, stub)
    return stubs


def import_timm() -> ModuleType:
    """timm, whether torchvision is there or not."""
    stubs = {name: stub for name, stub in stand_ins().items() if name not in sys.modules}
    sys.modules.update(stubs)
    try:
        import timm
    finally:
        for name in stubs:  # torch.onnx asks whether torchvision is there
            del sys.modules[name]
    return timm


def seeded(arch: str, size: tuple[int, int] = SIZE, **options: Any) -> Any:
    """The network in evaluation mode: random weights, and batch norms moved towards random images."""
    torch.manual_seed(0)
    model = import_timm().create_model(arch, **{"num_classes": CLASSES, **options}).train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.3  # fitted outright to so few images, timm is 2 % from itself in double
                module.weight.uniform_(0.2, 0.8)  # with larger ones deep networks are chaotic
                module.bias.uniform_(-0.5, 0.5)
        model(torch.randn(4, 3, *size))
    return model.eval()


def difference(path: Path, arch: str, model: Any) -> float:
    """How far the graph read from `path` is from `model`, relative to its largest output where that is above 1."""
    image = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        expected = model(image).numpy()
    spec = {
        "input": {"size": [*SIZE], "mean": [0.5] * 3, "std": [0.5] * 3},
        "outputs": [{"name": "class", "kind": "classes", "labels": [str(label) for label in range(CLASSES)]}],
    }
    graph = load_network(path, arch=arch, spec=spec).graph
    session = ort.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {graph.inputs[0]: image.numpy()})[0]
    return float(np.abs(found - expected).max() / max(1, np.abs(expected).max()))


def main() -> int:
    """Read each architecture, and write the table."""
    pattern = re.compile(sys.argv[1]) if len(sys.argv) > 1 else READ
    rows, worst = [], 0.0
    for arch in filter(pattern.fullmatch, import_timm().list_models()):
        with tempfile.TemporaryDirectory() as folder:
            model = seeded(arch)
            torch.save(model.state_dict(), Path(folder) / "weights.pt")
            found = difference(Path(folder) / "weights.pt", arch, model)
        worst = max(worst, found)
        parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        rows.append(f"| `{arch}` | {parameters:.2f} | {found:.1e} |")
        print(rows[-1], flush=True)
    if len(sys.argv) == 1:
        head = "| architecture | M parameters | largest difference |\n|---|---:|---:|"
        text = f"Written by `benchmarks/architectures.py`, timm {import_timm().__version__}.\n\n"
        RESULT.write_text(signed("\n".join((f"{text}{head}", *rows)), "checkpoint", "graph", "networks"), "utf-8")
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
