"""Networks as PyTorch's two exporters write them: does what edgefer reads compute what the file computes?

    pip install torch timm onnxscript
    python benchmarks/exports.py [NETWORK ...] [--convert]

Each network is exported four ways, and the graph that edgefer reads is compared with ONNX Runtime's answer for the
file; `--convert` also converts the files of two ways to both formats.  Weights are random, with batch norms that have
seen faces.  Exits with 1 where any differs by more than 1e-4, relative to the largest output.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

import edgefer
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.onnx_import import read_onnx

FACES = Path(__file__).parents[1] / ".." / "shared" / "data" / "fer2013_calibration.npz"
LARGEST_ERROR = 1e-4
HEAD = {"kind": "classes", "activation": "none", "labels": [*"abcdefgh"]}
VALENCE = {"name": "va", "kind": "valence_arousal", "activation": "tanh", "labels": ["valence", "arousal"]}
UNITS = {"name": "au", "kind": "action_units", "activation": "sigmoid", "labels": [f"AU{unit}" for unit in range(12)]}


def main() -> int:
    """Compare, network by network, and say how it went."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("network", nargs="*", help=f"of {', '.join(NETWORKS)}; all by default")
    arguments.add_argument("--convert", action="store_true", help="convert the files of two ways as well")
    options = arguments.parse_args()
    images = faces()
    worst = 0.0
    for name in options.network or NETWORKS:
        size, build = NETWORKS[name]
        model = with_statistics(build(), images, size)
        for way, export in WAYS.items():
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / f"{name}.onnx"
                export(model, path, size)
                error, operators = compare(path, normalised(images[:4], size))
                worst = max(worst, error)
                print(f"{name:24} {way:22} {error:.1e}  {operators} operators", flush=True)
                if options.convert and way in CONVERTED:
                    print(f"{'':47} {convert(path, name, size)}", flush=True)
    return int(worst > LARGEST_ERROR)


def compare(path: Path, images: np.ndarray) -> tuple[float, int]:
    """Largest difference between the file and what edgefer reads, relative to the largest output, and operators."""
    graph = normalise(read_onnx(path, (1, *images.shape[1:])).graph)
    original, imported = (session(model) for model in (str(path), to_onnx(graph).SerializeToString()))
    worst = 0.0
    for image in images:
        expected, found = (run.run(None, {graph.inputs[0]: image[None]}) for run in (original, imported))
        for one, other in zip(expected, found, strict=True):
            worst = max(worst, float(np.abs(one - other).max() / np.abs(one).max()))
    return worst, len(graph.nodes)


def convert(path: Path, name: str, size: int) -> str:
    """Convert to both formats and say how far each is from float."""
    heads = [{"name": "output", **HEAD}, *([VALENCE, UNITS] if name == "abaw" else [])]
    if name == "abaw":
        heads[0]["name"] = "expr"
    spec = {"input": {"size": [size, size], "mean": [0.5] * 3, "std": [0.5] * 3}, "outputs": heads}
    bundle = edgefer.convert(path, path.with_suffix(""), spec=spec, calibration=FACES, samples=40)
    found = bundle.manifest["held_back"]["agreement"]
    return ", ".join(f"{format}: {agreement}" for format, agreement in found.items())


def session(model: str | bytes) -> Any:
    """ONNX Runtime's session, quiet."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options)


def faces() -> np.ndarray:
    """A few gray faces, uint8 (N, 48, 48)."""
    return np.load(FACES)["images"][::20]


def normalised(images: np.ndarray, size: int) -> np.ndarray:
    """Faces as networks take them: float32 (N, 3, size, size), in [-1, 1]."""
    planes = torch.from_numpy(images)[:, None].float() / 127.5 - 1
    scaled = nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
    return scaled.repeat(1, 3, 1, 1).numpy()


def with_statistics(model: nn.Module, images: np.ndarray, size: int) -> nn.Module:
    """The network with batch norms that have seen the images."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.from_numpy(normalised(images, size)))
    return model.eval()


def torchscript(model: nn.Module, path: Path, size: int, *, opset: int = 11, dynamic: bool = False) -> None:
    """As `torch.onnx.export(..., dynamo=False)` writes it: what most published files came from."""
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if dynamic else None
    names = ["expr", "va", "au"] if isinstance(model, MultiHead) else ["output"]
    example = torch.randn(1, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=names,
            dynamic_axes=axes,
        )


def dynamo(model: nn.Module, path: Path, size: int, *, dynamic: bool = False) -> None:
    """As PyTorch exports by default."""
    names = ["expr", "va", "au"] if isinstance(model, MultiHead) else ["output"]
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = torch.randn(2 if dynamic else 1, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=["input"],
            output_names=names,
            dynamic_shapes=shapes,
            verbose=False,
            external_data=False,
        )


WAYS: dict[str, Callable[[nn.Module, Path, int], None]] = {
    "TorchScript, opset 11": torchscript,
    "the same, dynamic batch": lambda model, path, size: torchscript(model, path, size, dynamic=True),
    "default": dynamo,
    "default, dynamic batch": lambda model, path, size: dynamo(model, path, size, dynamic=True),
}
CONVERTED = ("TorchScript, opset 11", "default")


class MultiHead(nn.Module):
    """Three heads over one backbone, as work on ABAW builds them."""

    def __init__(self, backbone: nn.Module, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.expr, self.va, self.au = (nn.Linear(features, count) for count in (8, 2, 12))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of each head."""
        features = self.backbone(x)
        return self.expr(features), self.va(features), self.au(features)


class ShuffleUnit(nn.Module):
    """A unit of ShuffleNetV2 (Ma et al. 2018, figure 3 c and d)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half, self.stride = outputs // 2, stride
        read = inputs if stride == 2 else half

        def block(channels: int) -> list[nn.Module]:
            return [
                nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.Conv2d(channels, half, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
            ]

        first = [nn.Conv2d(read, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()]
        self.right = nn.Sequential(*first, *block(half))
        self.left = nn.Sequential(*block(read)) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The halves of the channels, shuffled."""
        left, right = x.chunk(2, 1) if self.stride == 1 else (x, x)
        joined = torch.cat([self.left(left), self.right(right)], 1)
        batch, channels, height, width = joined.shape
        shuffled = joined.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return shuffled.reshape(batch, channels, height, width)


def shufflenet() -> nn.Module:
    """A small ShuffleNetV2."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *(ShuffleUnit(a, b, stride) for a, b, stride in ((24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 8),
    )


def from_timm(arch: str) -> Callable[[], nn.Module]:
    """A network of timm's."""

    def build() -> nn.Module:
        return timm().create_model(arch, num_classes=8)

    return build


def abaw() -> nn.Module:
    """Heads for expressions, valence and arousal, and action units, on B0."""
    return MultiHead(timm().create_model("tf_efficientnet_b0", num_classes=0), 1280)


def timm() -> Any:
    """The module, beside stand-ins for the parts of torchvision that it imports, where that is absent."""
    if find_spec("torchvision") is not None:
        return import_module("timm")
    stand_in = MagicMock(FrozenBatchNorm2d=type("FrozenBatchNorm2d", (), {}))
    parts = ("", ".datasets", ".ops", ".ops.misc", ".transforms", ".transforms.functional")
    with patch.dict(sys.modules):
        sys.modules.update({f"torchvision{part}": stand_in for part in parts})
        loaded = import_module("timm")
        kept = {name: module for name, module in sys.modules.items() if not name.startswith("torchvision")}
    sys.modules.update(kept)
    return loaded


NETWORKS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    **{
        arch: (96, from_timm(arch))
        for arch in (
            "tf_efficientnet_b0",
            "tf_efficientnet_b2",
            "tf_efficientnet_lite0",
            "tf_efficientnetv2_s",
            "mobilenetv2_100",
            "resnet18",
        )
    },
    "shufflenet": (96, shufflenet),
    "abaw": (96, abaw),
}

if __name__ == "__main__":
    sys.exit(main())
