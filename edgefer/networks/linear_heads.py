"""Heads that a wrapper puts behind a backbone, as networks of several tasks have them: linear layers in sequence.

    expr_head.weight, expr_head.bias              nn.Linear
    va_head.0.weight ... va_head.3.weight         nn.Sequential(Linear, ReLU, Dropout, Linear)

Tensors show the layers and their order; what stands between them they do not show.  A pickled module says it, else
the user does: `hidden_activation = "relu"`, or by head, `hidden_activation = { va_head = "relu" }`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

from edgefer.checkpoint import Module, Tensor, Weights, is_foreign
from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder
from edgefer.host.text import counted
from edgefer.networks.network import Source
from edgefer.spec import Spec

HIDDEN = ("none", "relu", "relu6", "silu", "tanh", "sigmoid")
"""What may stand between two linear layers."""

_CLASSES = {
    **{"ReLU": "relu", "ReLU6": "relu6", "SiLU": "silu", "Swish": "silu", "Tanh": "tanh", "Sigmoid": "sigmoid"},
    **{"Dropout": "none", "Identity": "none", "Flatten": "none"},
}
_REMEDY = (
    "A head is read as linear layers, one or in an nn.Sequential, on the backbone's pooled features; a network with "
    "others is read as ONNX: torch.onnx.export(model, torch.zeros(1, 3, height, width), 'network.onnx')."
)


class LinearHeads:
    """The heads among some tensors.

    Attributes:
        columns: of each head by its name, how many it returns.
        weights: the tensors; `left` are those of no head that was added.
        notes: what the user should know about those that were added.
    """

    def __init__(
        self, source: Source, tensors: Mapping[str, Tensor], modules: Mapping[str, Module], own: str = ""
    ) -> None:
        """`own` is the backbone's own head, which is meant where the Spec names no other."""
        self.source = source
        self.modules = modules
        self.own = own
        self.weights = Weights(source.path, tensors, _REMEDY)
        self.notes: list[str] = []
        self._layers = _layers({name: tensor for name, tensor in tensors.items() if not is_foreign(name)})
        self.columns = {name: tensors[f"{layers[-1]}.weight"].shape[0] for name, layers in self._layers.items()}

    def add_wanted(self, build: GraphBuilder, spec: Spec, features: str) -> list[str]:
        """Add the heads that the Spec's outputs name, or the only one; returns their values, or `features` without any.

        Raises:
            InputError: it is not clear which heads are meant, or one cannot be read.
        """
        wanted = self._wanted(spec, build.shape(features)[1])
        if set(wanted) - {self.own}:
            count = build.shape(features)[1]
            self.notes.append(f"{', '.join(wanted)}: read as linear layers on the backbone's {count} pooled features")
        return [self._add(build, name, features) for name in wanted] or [features]

    def _wanted(self, spec: Spec, features: int) -> list[str]:
        asked = [output.tensor or output.name for output in spec.outputs]
        if named := [name for name in self.columns if name in asked]:
            return named
        if any(name.startswith(f"{self.own}.") for name in self.weights.tensors):
            return [self.own]
        if all(output.kind == "embedding" for output in spec.outputs):
            return []
        if not self.columns:
            raise InputError(
                f"{self.source.path}: it has no classifier: what it returns are {features} features",
                remedy='State an output with kind = "embedding" and no labels, or bring the whole network.',
            )
        if len(self.columns) == 1 and not any(output.tensor for output in spec.outputs):
            return [*self.columns]
        raise InputError(
            f"{self.source.path}: no output of the Spec names one of its heads, "
            + ", ".join(f"{name} ({counted(count, 'column')})" for name, count in self.columns.items()),
            remedy=f'Say by each [[outputs]] table which it is: tensor = "{next(iter(self.columns))}".',
        )

    def _add(self, build: GraphBuilder, name: str, x: str) -> str:
        """The layers of a head behind `x`; the value they end in is called `name`."""
        *inner, (last, last_path) = self._steps(name)
        for kind, path in inner:
            x = self._step(build, kind, path, path, x)
        return self._step(build, last, last_path, name, x)

    def _step(self, build: GraphBuilder, kind: str, path: str, node: str, x: str) -> str:
        if kind != "linear":
            return _ACTIVATE[kind](build, node, x)
        weight = self.weights.take(f"{path}.weight", None, build.shape(x)[1])
        bias = f"{path}.bias"
        has_bias = bias in self.weights.tensors
        return build.linear(node, x, weight, self.weights.take(bias, len(weight)) if has_bias else None)

    def _steps(self, name: str) -> list[tuple[str, str]]:
        """Kinds and paths of a head's layers and activations, in order."""
        layers = self._layers.get(name)
        if layers is None:
            first = min(tensor for tensor in self.weights.tensors if tensor.startswith(f"{name}."))
            raise InputError(f"{self.source.path}: tensor {first} is of no linear layer", remedy=_REMEDY)
        if name in self.modules:
            return self._recorded(name, layers)
        if layers == [name]:
            return [("linear", name)]
        if _index(layers[0]) > 1:
            raise self._unknown(name, f"before {layers[0]}")
        if _index(layers[0]) == 1:
            self.notes.append(f"what stands before {layers[0]} is taken as dropout, which does nothing here")
        steps = [("linear", layers[0])]
        for before, after in pairwise(layers):
            if _index(after) > _index(before) + 1:
                hidden = self._hidden(name, f"between {before} and {after}")
                steps += [(hidden, f"{before}.{hidden}")] if hidden != "none" else []
            steps.append(("linear", after))
        return steps

    def _recorded(self, name: str, layers: list[str]) -> list[tuple[str, str]]:
        """What a pickled nn.Linear or nn.Sequential says."""
        steps = []
        for path, module in self.modules.items():
            kind = module.kind.rpartition(".")[2]
            inside = path.rpartition(".")[0] == name
            if path in layers and kind == "Linear":
                steps.append(("linear", path))
            elif inside and path not in layers and kind in _CLASSES:
                steps += [(_CLASSES[kind], path)] if _CLASSES[kind] != "none" else []
            elif inside or (path == name and kind != "Sequential"):
                raise InputError(
                    f"{self.source.path}: module {path} ({kind}) is of a kind that heads are not read with",
                    remedy=_REMEDY,
                )
        return steps

    def _hidden(self, name: str, where: str) -> str:
        stated = self.source.stated.get("hidden_activation")
        hidden = stated.get(name) if isinstance(stated, dict) else stated
        if hidden is None:
            raise self._unknown(name, where)
        if hidden not in HIDDEN:
            raise InputError(
                f"{self.source.path}: hidden_activation is {hidden!r}", remedy=f"Choose one of {', '.join(HIDDEN)}."
            )
        return str(hidden)

    def _unknown(self, name: str, where: str) -> InputError:
        return InputError(
            f"{self.source.path}: head {name}: tensors do not show what stands {where}",
            remedy=f'Write it into {self.source.sidecar.name}, first line: hidden_activation = "relu", or by head: '
            f'hidden_activation = {{ "{name}" = "relu" }}.  One of {", ".join(HIDDEN)}; dropout is none.',
        )


_ACTIVATE: dict[str, Callable[[GraphBuilder, str, str], str]] = {
    "relu": GraphBuilder.relu,
    "relu6": GraphBuilder.relu6,
    "silu": GraphBuilder.silu,
    "sigmoid": GraphBuilder.sigmoid,
    "tanh": lambda build, name, x: build.op("Tanh", name, x),
}


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """By head, the paths of its linear layers in order."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(name.rpartition(".")[0] for name in tensors):
        parent, _, last = path.rpartition(".")
        groups[parent if parent and last.isdigit() else path].append(path)
    heads = {}
    for name, paths in groups.items():
        if not all(_is_linear(tensors, path) for path in paths):
            continue
        paths.sort(key=_index)
        shapes = [tensors[f"{path}.weight"].shape for path in paths]
        if all(before[0] == after[1] for before, after in pairwise(shapes)):
            heads[name] = paths
        else:  # layers of a ModuleList, side by side
            heads |= {path: [path] for path in paths}
    return heads


def _is_linear(tensors: Mapping[str, Tensor], path: str) -> bool:
    own = {name.removeprefix(f"{path}."): tensor for name, tensor in tensors.items() if name.startswith(f"{path}.")}
    return set(own) in ({"weight"}, {"weight", "bias"}) and len(own["weight"].shape) == 2


def _index(path: str) -> int:
    last = path.rpartition(".")[2]
    return int(last) if last.isdigit() else 0
