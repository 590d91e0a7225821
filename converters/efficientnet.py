"""EfficientNet B0, B1, B2 and Lite0: checkpoints of timm and of efficientnet-lite-pytorch.

The network's shape (blocks, kernels, channels, squeeze-and-excite) is read off the tensors.  What tensors
do not show (strides, padding, batch-norm epsilon, activation) comes from the pickled module where the
checkpoint is one, else from the architecture's name: the checkpoint's own `arch` entry, or what the user
states.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from edgefer.checkpoint import Checkpoint, Global, Module, Tensor, holds, is_foreign, read_checkpoint
from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder, Padding
from edgefer.graph.ir import Array, Graph
from edgefer.networks.network import Network, Source

FAMILY = "efficientnet"


def recognises(source: Source) -> bool:
    """Whether the file is a checkpoint with an EfficientNet's stem and blocks in it."""
    if source.path.suffix == ".onnx":
        return False
    try:
        return holds(source.path, _ANCHOR)
    except InputError:
        return False


def load(source: Source) -> Network:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, not one of these networks, or does not say enough.
    """
    checkpoint, tensorflow = _with_timm_names(read_checkpoint(source.path, source.weights, _ANCHOR))
    facts = _facts(source, checkpoint, tensorflow)
    spec = source.read_spec(_own_spec(checkpoint.fields))
    weights = _Weights(source, checkpoint.tensors)
    graph = _network(source.name, weights, facts, spec.input.size)
    notes = (*checkpoint.notes, *_left_out(source, [*weights.left_out(), *checkpoint.beside]))
    return Network(source.name, FAMILY, graph, spec, source, notes=notes)


def _left_out(source: Source, names: list[str]) -> list[str]:
    """What to tell about tensors that belong to something else: a loss, a teacher."""
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"left out of {source.path.name}, as no part of the network: {shown}"]


# --- the network ------------------------------------------------------------------------------------------


def _network(name: str, weights: _Weights, facts: _Facts, size: tuple[int, int]) -> Graph:
    layers = _Layers(GraphBuilder(name), weights, facts)
    x = layers.build.input("image", (1, 3, *size))
    x = layers.conv_norm_act("conv_stem", "bn1", x)
    for path in weights.blocks():
        x = _block(layers, path, x)
    x = layers.conv_norm_act("conv_head", "bn2", x)
    x = layers.build.flatten("flatten", layers.build.global_average_pool("global_pool", x))
    return layers.build.graph(layers.linear("classifier", x))


def _block(layers: _Layers, path: str, x: str) -> str:
    """Expand, depthwise convolution, squeeze-and-excite, project; the first stage does not expand."""
    shortcut = x
    expands = f"{path}.conv_pwl.weight" in layers.weights.tensors
    if expands:
        x = layers.conv_norm_act(f"{path}.conv_pw", f"{path}.bn1", x)
    x = layers.conv_norm_act(f"{path}.conv_dw", f"{path}.{'bn2' if expands else 'bn1'}", x)
    if f"{path}.se.conv_reduce.weight" in layers.weights.tensors:
        x = _squeeze_excite(layers, f"{path}.se", x)
    project, norm = ("conv_pwl", "bn3") if expands else ("conv_pw", "bn2")
    x = layers.conv_norm(f"{path}.{project}", f"{path}.{norm}", x)
    if layers.build.shape(x) != layers.build.shape(shortcut):
        return x
    return layers.build.add(f"{path}.add", x, shortcut)


def _squeeze_excite(layers: _Layers, path: str, x: str) -> str:
    gate = layers.build.global_average_pool(f"{path}.pool", x)
    gate = layers.activate(f"{path}.act1", layers.conv(f"{path}.conv_reduce", gate, bias=True))
    gate = layers.build.sigmoid(f"{path}.gate", layers.conv(f"{path}.conv_expand", gate, bias=True))
    return layers.build.mul(f"{path}.mul", x, gate)


@dataclass(frozen=True)
class _Layers:
    """Layers by their path in the checkpoint, which is also the name of their nodes."""

    build: GraphBuilder
    weights: _Weights
    facts: _Facts

    def conv_norm_act(self, conv: str, norm: str, x: str) -> str:
        return self.activate(f"{norm}.act", self.conv_norm(conv, norm, x))

    def conv_norm(self, conv: str, norm: str, x: str) -> str:
        x = self.conv(conv, x)
        channels = self.build.shape(x)[1]
        parts = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (self.weights.take(f"{norm}.{part}", channels) for part in parts)
        return self.build.batch_norm(norm, x, gamma, beta, mean, variance, epsilon=self.facts.epsilon(norm))

    def conv(self, path: str, x: str, bias: bool = False) -> str:
        channels = self.build.shape(x)[1]
        depthwise = path.endswith(".conv_dw")
        weight = self.weights.take(f"{path}.weight", *((channels, 1) if depthwise else (None, channels)), None, None)
        return self.build.conv(
            path,
            x,
            weight,
            self.weights.take(f"{path}.bias", len(weight)) if bias else None,
            stride=self.facts.stride(path),
            padding=self.facts.padding(path, weight.shape[2]),
            groups=channels if depthwise else 1,
        )

    def activate(self, path: str, x: str) -> str:
        add = {"SiLU": self.build.silu, "ReLU6": self.build.relu6, "ReLU": self.build.relu}
        return add[self.facts.activation(path)](path, x)

    def linear(self, path: str, x: str) -> str:
        weight = self.weights.take(f"{path}.weight", None, self.build.shape(x)[1])
        return self.build.linear(path, x, weight, self.weights.take(f"{path}.bias", len(weight)))


class _Weights:
    """The checkpoint's tensors as float32, each checked when taken."""

    def __init__(self, source: Source, tensors: Mapping[str, Tensor]) -> None:
        self.source = source
        self.tensors = tensors
        self.left = {name for name in tensors if not name.endswith(".num_batches_tracked")}

    def take(self, name: str, *shape: int | None) -> Array:
        """The tensor `name`, of `shape`, where None stands for any size."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise InputError(f"{self.source.path}: tensor {name} is missing", remedy=_SUPPORTED)
        if len(tensor.shape) != len(shape) or any(
            want not in (None, got) or got == 0 for want, got in zip(shape, tensor.shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise InputError(
                f"{self.source.path}: tensor {name} has shape {list(tensor.shape)} instead of [{wanted}]",
                remedy=_SUPPORTED,
            )
        array = tensor.array().astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise InputError(
                f"{self.source.path}: tensor {name} holds values that are not finite",
                remedy="The training diverged, or the file is damaged: bring another checkpoint.",
            )
        self.left.discard(name)
        return array

    def blocks(self) -> list[str]:
        """Paths of the blocks, `blocks.<stage>.<index>`, in order."""
        found = {match[1] for name in self.tensors if (match := re.match(r"(blocks\.\d+\.\d+)\.", name))}
        return sorted(found, key=lambda path: [int(part) for part in path.split(".")[1:]])

    def left_out(self) -> list[str]:
        """Tensors that no part of the network takes, and whose names say that they are none.

        Raises:
            InputError: others are left: they would belong to a part of the network that we did not build.
        """
        own = sorted(name for name in self.left if not is_foreign(name))
        if own:
            first, *others = own
            more = f" (and {len(others)} more)" if others else ""
            raise InputError(
                f"{self.source.path}: tensor {first}{more} has no place in an EfficientNet", remedy=_SUPPORTED
            )
        return sorted(self.left)


_SUPPORTED = (
    "Supported are EfficientNet B0, B1, B2 and Lite0 with one linear classifier; "
    "for others export to ONNX (torch.onnx.export), or write a converter (converters/README.md)."
)


# --- what tensors do not show -----------------------------------------------------------------------------


class _Facts(Protocol):
    """Geometry and numerics of layers, by their path."""

    def stride(self, conv: str) -> int: ...

    def padding(self, conv: str, kernel: int) -> Padding: ...

    def epsilon(self, norm: str) -> float: ...

    def activation(self, path: str) -> str: ...


def _facts(source: Source, checkpoint: Checkpoint, tensorflow: bool) -> _Facts:
    if checkpoint.modules:
        module_facts = _ModuleFacts(source, checkpoint.modules)
        module_facts.require_plain_head_and_gates()
        return module_facts
    arch = source.stated.get("arch", checkpoint.fields.get("arch"))
    if arch is None:
        raise InputError(
            f"{source.path}: weights alone do not say which architecture they belong to",
            remedy=f'Write it into {source.sidecar.name}, first line: arch = "tf_efficientnet_b0"; or give '
            f"--arch tf_efficientnet_b0. Known: {_KNOWN_ARCHS}.",
        )
    facts = _ArchFacts.of(source, str(arch), tensorflow)
    facts.require_match(source, checkpoint)
    return facts


_KNOWN_ARCHS = (
    "efficientnet_b0, _b1, _b2, _lite0 (trained with PyTorch's padding), tf_efficientnet_b0, _b1, _b2, _lite0 "
    "(TensorFlow's padding), with timm's suffixes (_ns, .ra_in1k)"
)
_ARCH = re.compile(r"(?P<tf>tf_)?efficientnet_(?P<size>b0|b1|b2|lite0)(_(ns|ap|aa))?(\.\w+)?")
_REPEATS = {
    "b0": (1, 2, 2, 3, 3, 4, 1),
    "b1": (2, 3, 3, 4, 4, 5, 2),
    "b2": (2, 3, 3, 4, 4, 5, 2),
    "lite0": (1, 2, 2, 3, 3, 4, 1),
}
_STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)


@dataclass(frozen=True)
class _ArchFacts:
    """What timm builds for an architecture's name; `tf_` ones follow TensorFlow."""

    arch: str
    size: str
    tensorflow: bool

    @classmethod
    def of(cls, source: Source, arch: str, tensorflow: bool) -> _ArchFacts:
        match = _ARCH.fullmatch(arch.lower().replace("-", "_"))
        if match is None:
            raise InputError(f"{source.path}: unknown architecture {arch!r}", remedy=f"Known: {_KNOWN_ARCHS}.")
        return cls(arch, match["size"], bool(match["tf"]) or tensorflow)

    def stride(self, conv: str) -> int:
        if conv == "conv_stem":
            return 2
        first = re.fullmatch(r"blocks\.(\d+)\.0\.conv_dw", conv)
        return _STAGE_STRIDES[int(first[1])] if first else 1

    def padding(self, conv: str, kernel: int) -> Padding:
        return "same" if self.tensorflow else kernel // 2

    def epsilon(self, norm: str) -> float:
        return 1e-3 if self.tensorflow else 1e-5

    def activation(self, path: str) -> str:
        return "ReLU6" if self.size == "lite0" else "SiLU"

    def require_match(self, source: Source, checkpoint: Checkpoint) -> None:
        """The tensors must be those of the architecture."""
        blocks = _Weights(source, checkpoint.tensors).blocks()
        expected = [
            f"blocks.{stage}.{index}" for stage, count in enumerate(_REPEATS[self.size]) for index in range(count)
        ]
        gated = any(".se." in name for name in checkpoint.tensors)
        differences = [
            *([f"{len(blocks)} blocks in other stages than its {len(expected)}"] if blocks != expected else []),
            *([f"squeeze-and-excite {'found' if gated else 'missing'}"] if gated == (self.size == "lite0") else []),
        ]
        if differences:
            raise InputError(
                f"{source.path}: its tensors are not those of {self.arch}: {', '.join(differences)}",
                remedy=f"State the right architecture. {_SUPPORTED}",
            )


@dataclass(frozen=True)
class _ModuleFacts:
    """What the modules of a whole pickled network recorded, whichever version of timm made them."""

    source: Source
    modules: Mapping[str, Module]

    def stride(self, conv: str) -> int:
        return self._side(conv, "stride")

    def padding(self, conv: str, kernel: int) -> Padding:
        if self._class(conv) in ("Conv2dSame", "Conv2dDynamicSamePadding", "Conv2dStaticSamePadding"):
            return "same"
        if self._side(conv, "dilation") != 1 or self._get(conv, "padding_mode", "zeros") != "zeros":
            raise self._unsupported(conv)
        return self._side(conv, "padding")

    def epsilon(self, norm: str) -> float:
        return float(self._get(norm, "eps"))

    def activation(self, path: str) -> str:
        """By class; older versions keep `act1` beside `bn1` instead of `bn1.act` within it."""
        if path not in self.modules:
            path = re.sub(r"bn(\d)\.act$", r"act\1", path)
        kind = self._class(path)
        if kind in ("SiLU", "Swish", "SwishMe", "SwishJit", "MemoryEfficientSwish"):
            return "SiLU"
        if kind not in ("ReLU6", "ReLU"):
            raise self._unsupported(path)
        return kind

    def require_plain_head_and_gates(self) -> None:
        """What `_network` takes for granted must be so: average pooling, sigmoid gates, one linear layer."""
        for path, module in self.modules.items():
            name = self._class(path)
            gate_function = module.attributes.get("gate_fn", Global("sigmoid"))
            plain = {
                "pool_type": module.attributes.get("pool_type", "avg") == "avg",
                "gate": not path.endswith(".se.gate") or name == "Sigmoid",
                "gate_fn": isinstance(gate_function, Global) and gate_function.name.endswith("sigmoid"),
                "head": not re.fullmatch(r"classifier(\.\d+)?", path)
                or name in ("Linear", "Sequential", "Dropout", "Identity"),
            }
            if not all(plain.values()):
                raise self._unsupported(path)

    def _side(self, path: str, attribute: str) -> int:
        """The one number behind an int, or a pair of equal ints."""
        value = self._get(path, attribute)
        sides = set(value) if isinstance(value, tuple | list) else {value}
        side = sides.pop()
        if sides or not isinstance(side, int):
            raise self._unsupported(path)
        return side

    def _class(self, path: str) -> str:
        module = self.modules.get(path)
        if module is None:
            raise InputError(f"{self.source.path}: module {path} is missing", remedy=_SUPPORTED)
        return module.kind.rpartition(".")[2]

    def _get(self, path: str, attribute: str, default: Any = None) -> Any:
        self._class(path)
        value = self.modules[path].attributes.get(attribute, default)
        if value is None:
            raise self._unsupported(path)
        return value

    def _unsupported(self, path: str) -> InputError:
        return InputError(
            f"{self.source.path}: module {path} ({self._class(path)}) is of a kind or geometry that is not supported",
            remedy=_SUPPORTED,
        )


# --- names ------------------------------------------------------------------------------------------------

_ANCHOR = re.compile(r"(?P<prefix>(?:.*\.)?)_?conv_stem\.weight")


def _with_timm_names(checkpoint: Checkpoint) -> tuple[Checkpoint, bool]:
    """The checkpoint with timm's names, and whether it had TensorFlow's."""
    tensors = checkpoint.tensors
    if "_conv_stem.weight" in tensors:
        return replace(checkpoint, tensors=_from_tensorflow_names(tensors), modules={}), True
    if "conv_stem.weight" not in tensors:
        raise InputError(
            f"{checkpoint.path}: not an EfficientNet: it has no tensor conv_stem.weight", remedy=_SUPPORTED
        )
    heads = [name for name in tensors if re.fullmatch(r"classifier\.\d+\.weight", name)]
    if len(heads) == 1:  # a Sequential of dropout and the one linear layer
        head = heads[0].removesuffix("weight")
        tensors = {re.sub(f"^{re.escape(head)}", "classifier.", name): tensor for name, tensor in tensors.items()}
    return replace(checkpoint, tensors=tensors), False


def _from_tensorflow_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of efficientnet-lite-pytorch, which numbers blocks throughout; a stage starts where width changes."""
    paths: dict[str, str] = {}
    stage, index, width = -1, 0, 0
    while (project := tensors.get(f"_blocks.{len(paths)}._project_conv.weight")) is not None:
        channels = project.shape[0] if project.shape else 0
        stage, index, width = (stage, index + 1, width) if channels == width else (stage + 1, 0, channels)
        paths[f"_blocks.{len(paths)}"] = f"blocks.{stage}.{index}"
    renamed = {}
    for name, tensor in tensors.items():
        block = re.match(r"_blocks\.\d+", name)
        if block is None or block[0] not in paths:
            layers = _OUTER
        else:
            layers = _EXPANDING if f"{block[0]}._expand_conv.weight" in tensors else _PLAIN
        path, _, layer = name.removesuffix(f".{name.rpartition('.')[2]}").rpartition(".")
        path = f"{paths[path]}." if path in paths else path and f"{path}."
        renamed[f"{path}{layers.get(layer, layer)}.{name.rpartition('.')[2]}"] = tensor
    return renamed


_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_GATE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_PLAIN = {**_GATE, "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDING = {
    **_GATE,
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}


# --- the Spec ---------------------------------------------------------------------------------------------


def _own_spec(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The tables that the checkpoint's own entries fill completely."""
    tables: dict[str, Any] = {}
    if all(key in fields for key in ("input_size", "mean", "std")):
        size = fields["input_size"]
        size = [size, size] if isinstance(size, int) else list(size)[-2:] if isinstance(size, tuple | list) else size
        tables["input"] = {"size": size, "mean": fields["mean"], "std": fields["std"]}
    if "label_names" in fields:
        labels = {"kind": "expression", "activation": "softmax", "labels": fields["label_names"]}
        tables["outputs"] = [{"name": "expression", **labels}]
    return tables
