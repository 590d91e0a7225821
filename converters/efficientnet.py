"""EfficientNets: checkpoints of timm, efficientnet-pytorch and efficientnet-lite-pytorch.

The network is read off the tensors: blocks of four kinds, their kernels, channels and squeeze-and-excite.  What they
are, stage by stage, tells the design (EfficientNet, Lite, EdgeTPU, V2, MobileNetV2), and with it what tensors do not
show: strides, activation, shortcuts.  How a network pads, and its batch-norm epsilon, differ between training with
PyTorch and with TensorFlow, after which tensors look alike: the architecture's name says so, which is the checkpoint's
own `arch` entry or what the user states.  A pickled module says all of this by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from operator import eq
from typing import Any, Protocol

from edgefer.checkpoint import Checkpoint, Global, Module, Tensor, Weights, read_checkpoint
from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder, Padding
from edgefer.networks.linear_heads import LinearHeads
from edgefer.networks.network import Network, Source, Twin

FAMILY = "efficientnet"


def recognises(source: Source) -> bool:
    """Whether the file is a checkpoint with an EfficientNet's stem and blocks in it."""
    is_whole = not source.holds("lstm.weight_ih_l0")
    return is_whole and (source.holds("conv_stem.weight") or source.holds("_conv_stem.weight"))


def load(source: Source) -> Network:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, not one of these networks, or does not say enough.
    """
    checkpoint, tensorflow = _with_timm_names(read_checkpoint(source.path, source.weights, _ANCHOR))
    blocks = _blocks(source, checkpoint.tensors)
    arch = source.stated.get("arch", checkpoint.fields.get("arch"))
    facts = _facts(source, checkpoint, blocks, tensorflow, arch)
    spec = source.read_spec(_own_spec(checkpoint.fields))
    classifier = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("classifier.")}
    backbone = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in classifier}
    layers = _Layers(GraphBuilder(source.name), Weights(source.path, backbone, _SUPPORTED), facts)
    modules = {**checkpoint.beside_modules, **checkpoint.modules}
    heads = LinearHeads(source, {**classifier, **checkpoint.beside}, modules, own="classifier")
    features = _backbone(layers, blocks, spec.input.size)
    outputs = heads.add_wanted(layers.build, spec, features)
    left = [*layers.weights.left_out("an EfficientNet"), *sorted(heads.weights.left)]
    notes = (*checkpoint.notes, *heads.notes, *_left_out(source, left))
    twin = Twin(str(arch), layers.weights.taken, features) if arch is not None else None
    return Network(source.name, FAMILY, layers.build.graph(*outputs), spec, source, twin=twin, notes=notes)


def _left_out(source: Source, names: list[str]) -> list[str]:
    """What to tell about tensors that belong to something else: a loss, a teacher."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"left out of {source.path.name}, as no part of the network: {shown}"] if names else []


# --- the network ------------------------------------------------------------------------------------------


def _backbone(layers: _Layers, blocks: list[_Block], size: tuple[int, int]) -> str:
    """From the image to pooled features, (1, features)."""
    x = layers.build.input("image", (1, 3, *size))
    x = layers.conv_norm_act("conv_stem", "bn1", x)
    for block in blocks:
        x = _block(layers, block, x)
    x = layers.conv_norm_act("conv_head", "bn2", x)
    return layers.build.flatten("flatten", layers.build.global_average_pool("global_pool", x))


def _block(layers: _Layers, block: _Block, x: str) -> str:
    """Expand, convolve, squeeze-and-excite, project, add the input: by kind, without some of it."""
    path, shortcut = block.path, x
    *before, (conv, norm) = _ACTIVATED[block.kind]
    for expand, its_norm in before:
        x = layers.conv_norm_act(f"{path}.{expand}", f"{path}.{its_norm}", x)
    x = layers.conv_norm_act(f"{path}.{conv}", f"{path}.{norm}", x)
    if block.gated:
        x = _squeeze_excite(layers, f"{path}.se", x)
    for project, its_norm in _PROJECTED[block.kind]:
        x = layers.conv_norm(f"{path}.{project}", f"{path}.{its_norm}", x)
    if layers.facts.stride(block.spatial) != 1 or layers.build.shape(x) != layers.build.shape(shortcut):
        return x
    return layers.build.add(f"{path}.add", x, shortcut) if layers.facts.adds(block) else x


_ACTIVATED = {
    "ds": [("conv_dw", "bn1")],
    "ir": [("conv_pw", "bn1"), ("conv_dw", "bn2")],
    "er": [("conv_exp", "bn1")],
    "cn": [("conv", "bn1")],
}
"""By kind of block: convolutions with an activation, and their norms; the last one has the kernel and the stride."""

_PROJECTED = {"ds": [("conv_pw", "bn2")], "ir": [("conv_pwl", "bn3")], "er": [("conv_pwl", "bn2")], "cn": []}


def _squeeze_excite(layers: _Layers, path: str, x: str) -> str:
    gate = layers.build.global_average_pool(f"{path}.pool", x)
    gate = layers.activate(f"{path}.act1", layers.conv(f"{path}.conv_reduce", gate, bias=True))
    gate = layers.build.sigmoid(f"{path}.gate", layers.conv(f"{path}.conv_expand", gate, bias=True))
    return layers.build.mul(f"{path}.mul", x, gate)


@dataclass(frozen=True)
class _Layers:
    """Layers by their path in the checkpoint, which is also the name of their nodes."""

    build: GraphBuilder
    weights: Weights
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


_SUPPORTED = (
    "Supported are timm's EfficientNets (B0 to B8, Lite, EdgeTPU, V2) and MobileNetV2, with linear heads or none; "
    "for others export to ONNX (torch.onnx.export), or write a converter (converters/README.md)."
)


# --- what tensors show ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """A block as its tensors show it.

    Attributes:
        path: `blocks.<stage>.<index>`.
        kind: `ds` depthwise-separable, `ir` inverted residual, `er` with the expansion in the spatial convolution,
            `cn` one convolution: as timm calls them.
        kernel: side of the spatial convolution.
        gated: whether it has squeeze-and-excite.
    """

    path: str
    kind: str
    kernel: int
    gated: bool

    @property
    def stage(self) -> int:
        return int(self.path.split(".")[1])

    @property
    def spatial(self) -> str:
        """Path of the convolution that has the kernel and the stride."""
        return f"{self.path}.{_ACTIVATED[self.kind][-1][0]}"

    def __str__(self) -> str:
        return f"{self.kind}{self.kernel}{'se' if self.gated else ''}"


def _blocks(source: Source, tensors: Mapping[str, Tensor]) -> list[_Block]:
    """The blocks, in order."""
    found = {match[1] for name in tensors if (match := re.match(r"(blocks\.\d+\.\d+)\.", name))}
    return [_seen(source, tensors, path) for path in sorted(found, key=lambda path: [*map(int, path.split(".")[1:])])]


def _seen(source: Source, tensors: Mapping[str, Tensor], path: str) -> _Block:
    expands = f"{path}.conv_pwl.weight" in tensors
    kinds = {"conv_exp": "er", "conv": "cn", "conv_dw": "ir" if expands else "ds"}
    for conv, kind in kinds.items():
        tensor = tensors.get(f"{path}.{conv}.weight")
        if tensor is not None and len(tensor.shape) == 4:
            return _Block(path, kind, tensor.shape[2], f"{path}.se.conv_reduce.weight" in tensors)
    raise InputError(f"{source.path}: {path} has none of the tensors {', '.join(kinds)}.weight", remedy=_SUPPORTED)


# --- what tensors do not show -----------------------------------------------------------------------------


class _Facts(Protocol):
    """Geometry and numerics of layers, by their path."""

    def stride(self, conv: str) -> int: ...

    def padding(self, conv: str, kernel: int) -> Padding: ...

    def epsilon(self, norm: str) -> float: ...

    def activation(self, path: str) -> str: ...

    def adds(self, block: _Block) -> bool:
        """Whether a block adds its input where that has the same shape."""
        ...


def _facts(source: Source, checkpoint: Checkpoint, blocks: list[_Block], tensorflow: bool, arch: object) -> _Facts:
    if checkpoint.modules:
        module_facts = _ModuleFacts(source, checkpoint.modules)
        module_facts.require_plain_pool_and_gates()
        return module_facts
    design = _design(source, blocks)
    if arch is None and not tensorflow:
        raise InputError(
            f"{source.path}: its tensors are those of {design.name}, but weights alone do not say which architecture "
            "they belong to: whether it pads as PyTorch or as TensorFlow",
            remedy=f'Write it into {source.sidecar.name}, first line: arch = "tf_{design.example}" if it was created '
            f'under that name, or arch = "{design.example}"; or give --arch.',
        )
    return _DesignFacts(design, tensorflow or _pads_as_tensorflow(source, str(arch), design, len(blocks)))


@dataclass(frozen=True)
class _Design:
    """What networks of one design have in common, whatever their width and depth.

    Attributes:
        name: what it is called.
        activation: of all blocks and gates.
        stages: the blocks of each stage.
        names: pattern of the architectures' names, without `tf_`.
        example: one of them.
        adds_at_once: whether blocks of the first stage add their input, too.
    """

    name: str
    activation: str
    stages: str
    names: str
    example: str
    adds_at_once: bool = True


_V1 = r"efficientnet_(b\d+|l2)(_pruned)?|tinynet_[a-e]"
_V2 = "cn3 er3 er3 ir3se ir3se ir3se"
_DESIGNS = (
    _Design("EfficientNet", "SiLU", "ds3se ir3se ir5se ir3se ir5se ir5se ir3se", _V1, "efficientnet_b0"),
    _Design("EfficientNet-Lite", "ReLU6", "ds3 ir3 ir5 ir3 ir5 ir5 ir3", r"efficientnet_lite\d", "efficientnet_lite0"),
    _Design(
        "EfficientNet-EdgeTPU",
        "ReLU",
        "er3 er3 er3 ir5 ir5 ir5",
        r"efficientnet_e[sml](_pruned)?",
        "efficientnet_es",
        False,
    ),
    _Design("EfficientNetV2", "SiLU", _V2, r"efficientnetv2_(b\d|s|rw_t)", "efficientnetv2_s"),
    _Design("EfficientNetV2 (M to XL)", "SiLU", f"{_V2} ir3se", r"efficientnetv2_(m|l|xl)", "efficientnetv2_m"),
    _Design(
        "EfficientNetV2 (RW)", "SiLU", "er3 er3 er3 ir3se ir3se ir3se", r"efficientnetv2_rw_[sm]", "efficientnetv2_rw_s"
    ),
    _Design("MobileNetV2", "ReLU6", "ds3 ir3 ir3 ir3 ir3 ir3 ir3", r"mobilenetv2_\d+d?", "mobilenetv2_100"),
)
_STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""All designs halve the image in the same stages, each in its first block."""

_BLOCKS = {
    **{"efficientnet_b0": 16, "efficientnet_b1": 23, "efficientnet_b2": 23, "efficientnet_b3": 26},
    **{"efficientnet_b4": 32, "efficientnet_b5": 39, "efficientnet_b6": 45, "efficientnet_b7": 55},
    **{"efficientnet_b8": 61, "efficientnet_l2": 88, "efficientnet_lite0": 16, "efficientnet_lite1": 21},
    **{"efficientnet_lite2": 21, "efficientnet_lite3": 24, "efficientnet_lite4": 30, "efficientnet_es": 18},
    **{"efficientnet_em": 24, "efficientnet_el": 27, "efficientnetv2_rw_t": 39, "efficientnetv2_s": 40},
    **{"efficientnetv2_m": 57, "efficientnetv2_l": 79, "efficientnetv2_xl": 100},
}
"""How many blocks networks have whose names say so; of others, any number is believed."""


def _design(source: Source, blocks: list[_Block]) -> _Design:
    """The design whose stages the blocks make up."""
    stages = sorted({block.stage for block in blocks})
    seen = ["/".join(sorted({str(block) for block in blocks if block.stage == stage})) for stage in stages]
    for design in _DESIGNS:
        if seen == design.stages.split():
            return design
    near = max(_DESIGNS, key=lambda design: sum(map(eq, seen, design.stages.split())))
    pairs = enumerate(zip_longest(seen, near.stages.split(), fillvalue="nothing"))
    stage, (found, wanted) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    raise InputError(
        f"{source.path}: its tensors are those of no design that is known; the nearest is {near.name}: stage {stage} "
        f"is made of {found} instead of {wanted}",
        remedy=_SUPPORTED,
    )


def _pads_as_tensorflow(source: Source, arch: str, design: _Design, blocks: int) -> bool:
    """What the architecture's name says, which must be one of the design."""
    match = re.fullmatch(r"(tf_)?(.+?)(_(?:ns|ap|aa|in21k|in21ft1k))?(\.\w+)?", arch.lower().replace("-", "_"))
    name = match[2] if match else ""
    if not re.fullmatch(design.names, name):
        known = any(re.fullmatch(other.names, name) for other in _DESIGNS)
        raise InputError(
            f"{source.path}: its tensors are those of {design.name}, not of {arch}"
            if known
            else f"{source.path}: unknown architecture {arch!r}",
            remedy=f"Its tensors are those of {design.name}: state such a name as timm gives it, {design.example} or "
            f"tf_{design.example}, say.",
        )
    expected = _BLOCKS.get(name.removesuffix("_pruned"), blocks)
    if expected != blocks:
        raise InputError(
            f"{source.path}: its tensors are not those of {arch}: it has {blocks} blocks instead of {expected}",
            remedy=f"State the right architecture. {_SUPPORTED}",
        )
    return bool(match and match[1]) or bool(re.fullmatch(r"efficientnet_b\d_pruned", name))


@dataclass(frozen=True)
class _DesignFacts:
    """What timm builds for a design; `tensorflow` where it pads and normalises as TensorFlow."""

    design: _Design
    tensorflow: bool

    def stride(self, conv: str) -> int:
        if conv == "conv_stem":
            return 2
        first = re.fullmatch(r"blocks\.(\d+)\.0\.(conv_dw|conv_exp|conv)", conv)
        return _STAGE_STRIDES[int(first[1])] if first else 1

    def padding(self, conv: str, kernel: int) -> Padding:
        return "same" if self.tensorflow else kernel // 2

    def epsilon(self, norm: str) -> float:
        return 1e-3 if self.tensorflow else 1e-5

    def activation(self, path: str) -> str:
        return self.design.activation

    def adds(self, block: _Block) -> bool:
        return self.design.adds_at_once or block.stage > 0


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

    def adds(self, block: _Block) -> bool:
        attributes = self.modules[block.path].attributes if block.path in self.modules else {}
        return bool(attributes.get("has_skip", attributes.get("has_residual", True)))

    def require_plain_pool_and_gates(self) -> None:
        """What is taken for granted must be so: average pooling, sigmoid gates."""
        for path, module in self.modules.items():
            name = self._class(path)
            gate_function = module.attributes.get("gate_fn", Global("sigmoid"))
            plain = {
                "pool_type": module.attributes.get("pool_type", "avg") == "avg",
                "gate": not path.endswith(".se.gate") or name == "Sigmoid",
                "gate_fn": isinstance(gate_function, Global) and gate_function.name.endswith("sigmoid"),
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
    return checkpoint, False


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
