"""Networks as PyTorch's two exporters write them: does edgefer compute what the file does, from a checkpoint likewise?

    pip install torch timm onnxscript
    python -m benchmarks.exports [NETWORK ...] [--convert]

Each network is exported four ways, and the graph that edgefer reads is compared with ONNX Runtime's answer for the
file, and that with ONNX Runtime's own without graph optimisation; `--convert` also converts the checkpoint of the same
weights and each of the files to both formats, compares their integers, and writes `results/exports.md` after each
network.  Weights are random, with batch norms that have seen faces: how well int8 does says nothing here.  Exits with 1
where a graph differs by more than 1e-4, relative to the largest output, or four times what ONNX Runtime differs from
itself, or where a file with a dynamic batch gives other integers than the one for one image.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import edgefer
from benchmarks.architectures import import_timm
from benchmarks.measured import signed
from edgefer.bundle import Bundle
from edgefer.conversion.trial import OWN_NOISE
from edgefer.graph.ir import Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.onnx_import import read_onnx

FACES = Path(__file__).parents[1] / ".." / "shared" / "data" / "fer2013_calibration.npz"
RESULT = Path(__file__).parent / "results" / "exports.md"
SIZE = 64
SAMPLES = 64
BUDGET = 50_000_000
LARGEST_ERROR = 1e-4
HEAD = {"kind": "classes", "activation": "none", "labels": [*"abcdefgh"]}
VALENCE = {"name": "va", "kind": "valence_arousal", "activation": "tanh", "labels": ["valence", "arousal"]}
UNITS = {"name": "au", "kind": "action_units", "activation": "sigmoid", "labels": [f"AU{unit}" for unit in range(12)]}
SQUARE_ROOTS: dict[str, Callable[[Tensor], Tensor]] = {
    "PyTorch's": torch.sqrt,
    "NumPy's": lambda variance: torch.from_numpy(np.sqrt(variance.numpy())),
}
WHY = (
    "Exporters fold batch norms: the older with PyTorch's square root, whose last bit is not IEEE's, the default with "
    "NumPy's, as edgefer does with a checkpoint; their files hold different weights, and so different integers.  "
    "Counted are convolutions whose weights are folded so to the last bit, of all, those without a norm included."
)


def main() -> int:
    """Compare, network by network, and say how it went."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("network", nargs="*", help=f"of {', '.join(NETWORKS)}; all by default")
    arguments.add_argument("--convert", action="store_true", help="convert, compare the integers, write the table")
    options = arguments.parse_args()
    images = normalised(faces())
    found: dict[str, list[Row]] = {}
    for name in options.network or NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            found[name] = rows(name, images, Path(scratch), is_converted=options.convert)
        if options.convert:
            write(found)
    return int(any(row.is_wrong for rows in found.values() for row in rows))


@dataclass(frozen=True)
class Row:
    """What was found of one file.

    Attributes:
        way: how it was exported.
        error: what edgefer's graph is off from the file by, relative to the largest output.
        own: what ONNX Runtime is off from itself by, with and without graph optimisation.
        operators: of the graph.
        roots: whose square root is in the folded batch norms, by the convolutions that are so to the last bit.
        bytes: of the artifacts, by format.
        integers: how many of the artifact's integers are those of the checkpoint.
        fixed: how many are those of the same exporter's file for one image.
    """

    way: str
    error: float
    own: float
    operators: int
    roots: str
    bytes: str = ""
    integers: str = ""
    fixed: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it is off by more than a bound, or a dynamic batch changes integers."""
        return self.error > max(LARGEST_ERROR, OWN_NOISE * self.own) or (
            self.fixed != "" and self.fixed.count("equal") != 2
        )

    def cells(self) -> list[str]:
        """As texts."""
        off = (f"{self.error:.1e}", f"{self.own:.1e}")
        return [self.way, *off, str(self.operators), self.roots, self.bytes, self.integers, self.fixed]


def rows(name: str, images: np.ndarray, scratch: Path, *, is_converted: bool) -> list[Row]:
    """What is found of a network's exports."""
    model = seeded(name, images)
    checkpoint = scratch / f"{name}.pt"
    torch.save(model.state_dict(), checkpoint)
    known = convert(checkpoint, name) if is_converted else None
    found: list[Row] = []
    fixed: Bundle | None = None
    for way, export in WAYS.items():
        path = scratch / way / f"{name}.onnx"
        path.parent.mkdir()
        export(model, path)
        graph = normalise(read_onnx(path, (1, *images.shape[1:])).graph)
        row = Row(way, *compare(path, graph, images[:4]), folded(path, model))
        if known is not None:
            bundle = convert(path, name)
            made = ", ".join(f"{a.format} {a.bytes:,}" for a in bundle.artifacts if not a.is_reference)
            row = replace(row, bytes=made, integers=equality(known, bundle))
            if "dynamic" in way and fixed is not None:
                row = replace(row, fixed=equality(fixed, bundle))
            fixed = bundle
        print(f"{name:24}", *row.cells(), sep="  ", flush=True)
        found.append(row)
    return found


def write(found: Mapping[str, Sequence[Row]]) -> None:
    """The table; rows of networks that were left out stay as they are."""
    kept = RESULT.read_text("utf-8").splitlines() if RESULT.exists() else []
    lines = [line for line in kept if line.startswith("| `") and line.split("`")[1] not in found]
    lines += [f"| `{name}` | {' | '.join(row.cells())} |" for name, rows in found.items() for row in rows]
    order = [*NETWORKS]
    lines.sort(key=lambda line: order.index(line.split("`")[1]))
    head = "| network | exported | off by | ONNX Runtime itself | operators | folded with | bytes "
    head += "| integers of the `.pt` | of one image's file |"
    top = [
        f"Written by `benchmarks/exports.py --convert`, PyTorch {torch.__version__}, {SIZE} x {SIZE}.  {WHY}",
        "",
        head,
    ]
    RESULT.write_text(
        signed("\n".join([*top, f"|---|---|{3 * '--:|'}---|---|---|---|", *lines]), "graph", "onnx_import"), "utf-8"
    )


def folded(path: Path, model: nn.Module) -> str:
    """Whose square root an exporter folded batch norms into convolutions with."""
    written = {numpy_helper.to_array(tensor).tobytes() for tensor in onnx.load(path).graph.initializer}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    weights = [module.weight.detach() for module in model.modules() if isinstance(module, nn.Conv2d)]
    told = []
    for name, root in SQUARE_ROOTS.items():
        scales = [norm.weight.detach() / root(norm.running_var + norm.eps) for norm in norms]
        count = sum(
            any(
                (weight * scale.view(-1, 1, 1, 1)).numpy().tobytes() in written
                for scale in scales
                if len(scale) == len(weight)
            )
            for weight in weights
        )
        told += [f"{name}, {count} of {len(weights)}"] if count else []
    return "; ".join(told)


def compare(path: Path, graph: Graph, images: np.ndarray) -> tuple[float, float, int]:
    """Largest differences between the file and what edgefer reads, and of the file in itself; operators."""
    original, plain, imported = (
        session(str(path)),
        session(str(path), optimised=False),
        session(to_onnx(graph).SerializeToString()),
    )
    worst = own = 0.0
    for image in images:
        expected, itself, found = (run.run(None, {graph.inputs[0]: image[None]}) for run in (original, plain, imported))
        worst = max(worst, *map(share, expected, found))
        own = max(own, *map(share, expected, itself))
    return worst, own, len(graph.nodes)


def share(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference, relative to the largest number."""
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def convert(path: Path, name: str) -> Bundle:
    """Convert to both formats; a checkpoint of a network of which no family knows by its own."""
    heads = [{"name": "output", **HEAD}, *([VALENCE, UNITS] if name == "abaw" else [])]
    if name == "abaw":
        heads[0]["name"] = "expr"
    spec = {"input": {"size": [SIZE, SIZE], "mean": [0.5] * 3, "std": [0.5] * 3}, "outputs": heads}
    arch, family = "", None
    if path.suffix == ".pt" and name == "shufflenet":
        family = path.with_suffix(".py")
        family.write_text("from benchmarks.exports import shufflenet\n\n\ndef load(source):\n    return shufflenet()\n")
    elif path.suffix == ".pt":
        arch = {"abaw": "tf_efficientnet_b0"}.get(name, name)
    out = path.with_suffix("")
    return edgefer.convert(
        path, out, spec=spec, family=family, arch=arch, calibration=FACES, samples=SAMPLES, budget=BUDGET
    )


def equality(known: Bundle, bundle: Bundle) -> str:
    """How many integers of two conversions are equal, in words."""
    pairs = list(zip(integers(known), integers(bundle), strict=True))
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return "other channels are left out"
    biases = [pair for pair in pairs if pair[0].dtype == np.int32]
    weights = [pair for pair in pairs if pair[0].dtype != np.int32]
    return f"{_told('weights', weights)}; {_told('biases', biases)}"


def _told(what: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """How many numbers differ, and by how much of the largest in their tensor."""
    count = sum(a.size for a, _ in pairs)
    off = [(np.abs(a.astype(np.int64) - b), np.abs(a.astype(np.int64)).max(initial=1)) for a, b in pairs]
    different = sum(np.count_nonzero(each) for each, _ in off)
    if not different:
        return f"{count:,} {what} equal"
    return f"{different:,} of {count:,} {what} differ, by {max(each.max() / top for each, top in off):.1%} at most"


def integers(bundle: Bundle) -> list[np.ndarray]:
    """Weights, biases and zero points of an artifact, in the order in which nodes read them; TFLite has the same."""
    graph = onnx.load(next(bundle.path.glob("*_int8.onnx"))).graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    names = dict.fromkeys(value for node in graph.node for value in node.input if value in known)
    arrays = (numpy_helper.to_array(known[name]) for name in names)
    return [array for array in arrays if array.dtype.kind in "iu" and array.dtype != np.int64]


def session(model: str | bytes, *, optimised: bool = True) -> Any:
    """ONNX Runtime's session, quiet."""
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options)


def faces() -> np.ndarray:
    """A few gray faces, uint8 (N, 48, 48)."""
    return np.load(FACES)["images"][::8]


def normalised(images: np.ndarray) -> np.ndarray:
    """Faces as networks take them: float32 (N, 3, SIZE, SIZE), in [-1, 1]."""
    planes = torch.from_numpy(images)[:, None].float() / 127.5 - 1
    scaled = nn.functional.interpolate(planes, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return scaled.repeat(1, 3, 1, 1).numpy()


def seeded(name: str, images: np.ndarray) -> nn.Module:
    """A network with random weights and batch norms that know the images; at full scale it would be chaotic."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                module.weight.uniform_(0.1, 0.3)
                module.bias.uniform_(-0.5, 0.5)
        model.train()(torch.from_numpy(images))
    return model.eval()


def torchscript(model: nn.Module, path: Path, *, opset: int = 11, dynamic: bool = False) -> None:
    """As `torch.onnx.export(..., dynamo=False)` writes it: what most published files came from."""
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if dynamic else None
    names = ["expr", "va", "au"] if isinstance(model, MultiHead) else ["output"]
    example = torch.randn(1, 3, SIZE, SIZE)
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


def dynamo(model: nn.Module, path: Path, *, dynamic: bool = False) -> None:
    """As PyTorch exports by default."""
    names = ["expr", "va", "au"] if isinstance(model, MultiHead) else ["output"]
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = torch.randn(2 if dynamic else 1, 3, SIZE, SIZE)
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


WAYS: dict[str, Callable[[nn.Module, Path], None]] = {
    "TorchScript, opset 11": torchscript,
    "the same, dynamic batch": lambda model, path: torchscript(model, path, dynamic=True),
    "default": dynamo,
    "default, dynamic batch": lambda model, path: dynamo(model, path, dynamic=True),
}


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
        return import_timm().create_model(arch, num_classes=8)

    return build


def abaw() -> nn.Module:
    """Heads for expressions, valence and arousal, and action units, on B0."""
    return MultiHead(import_timm().create_model("tf_efficientnet_b0", num_classes=0), 1280)


ARCHITECTURES = (
    *("tf_efficientnet_b0", "tf_efficientnet_b2", "tf_efficientnet_lite0", "tf_efficientnetv2_s"),
    *("mobilenetv2_100", "resnet18"),
)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{arch: from_timm(arch) for arch in ARCHITECTURES},
    "shufflenet": shufflenet,
    "abaw": abaw,
}

if __name__ == "__main__":
    sys.exit(main())
