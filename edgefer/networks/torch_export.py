"""A torch module is given its weights, which edgefer reads, so that nothing in a checkpoint runs; PyTorch exports it.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from inspect import Parameter, isfunction, signature
from io import StringIO
from logging import CRITICAL, disable
from pathlib import Path
from typing import Any

import onnx

from edgefer.checkpoint import Checkpoint, Module, Weights, read_checkpoint
from edgefer.errors import InputError, UsageError
from edgefer.graph.ir import Array
from edgefer.graph.torch_module import Tensor, torch
from edgefer.host.native_output import captured_stdout
from edgefer.host.text import counted
from edgefer.networks.exported import CAPTURING, TRACING
from edgefer.networks.network import Source, TorchNetwork
from edgefer.spec import INPUT, Spec

OPSET = 17
"""What PyTorch is asked for; edgefer reads all of them."""

_ANOTHER = (
    "It is not the network that this family builds. Give --family, or write a converter of your own with the module's "
    "class in it (converters/README.md)."
)


class Filled:
    """A module that has its weights; see `edgefer.networks.exported.Exportable`."""

    def __init__(self, source: Source, family: str, made: TorchNetwork) -> None:
        """Give the module the checkpoint's weights.

        Args:
            source: the checkpoint, and what the user says of it.
            family: name of the converter.
            made: what it returned.

        Raises:
            TypeError: there is no module in it.
            InputError: tensors are missing, left over, of other shapes or not finite; nothing says what input and
                outputs mean; or the module fails on such an input.
        """
        module = made.module
        if isfunction(module) or isinstance(module, partial):
            module = module()
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"load() returned {type(module).__name__}, not a torch.nn.Module")
        made = replace(made, module=module)
        checkpoint = made.checkpoint or read_checkpoint(source.path, source.weights, _anchor(module))
        self.spec = source.read_spec(made.spec)
        left = _fill(checkpoint, made, family)
        _compare_with_recorded(checkpoint, module)
        self._heads = _Heads(made, self.spec, source).eval()
        self.notes = (*checkpoint.notes, *made.notes, *left, *_published(source, family, made, self.spec))

    def write(self, exporter: str, path: Path) -> None:
        """Write it as ONNX; raises whatever PyTorch does."""
        inputs = [INPUT, *(state.input for state in self.spec.states)]
        with _quiet(), torch.no_grad():
            _EXPORTERS[exporter](self._heads, _example(self.spec), inputs, self._heads.names, path)

    def answer(self, fed: Mapping[str, Array]) -> dict[str, Array]:
        """What the module returns, by name, for its inputs in order."""
        with torch.inference_mode():
            returned = self._heads(*map(torch.from_numpy, fed.values()))
        return {name: tensor.numpy() for name, tensor in zip(self._heads.names, returned, strict=True)}


def _example(spec: Spec) -> tuple[Tensor, ...]:
    """An image, or a clip, and the states as they begin."""
    clip = [spec.input.frames] if spec.input.frames is not None else []
    image = torch.zeros(1, *clip, len(spec.input.planes), *spec.input.size)
    return (image, *(torch.full(state.shape, state.initial) for state in spec.states))


# --- weights ----------------------------------------------------------------------------------------------


def _anchor(module: Any) -> re.Pattern[str]:
    """Matches the module's innermost tensors, whose names are no ends of longer ones."""
    names = [name for name in module.state_dict() if not name.endswith(".num_batches_tracked")]
    depth = max((name.count(".") for name in names), default=0)
    innermost = "|".join(re.escape(name) for name in names if name.count(".") == depth)
    return re.compile(rf"(?P<prefix>(?:.*\.)?)(?:{innermost})")


def _fill(checkpoint: Checkpoint, made: TorchNetwork, family: str) -> list[str]:
    """Give the module the checkpoint's tensors; returns what to tell of those that it does without."""
    weights = Weights(checkpoint.path, checkpoint.tensors, _ANOTHER)
    with torch.no_grad():
        for name, tensor in made.module.state_dict().items():  # which share memory with the module's own
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(torch.from_numpy(weights.take(name, *tensor.shape)))
    notes = []
    for prefix, why in made.left_out.items():
        found = sorted(name for name in weights.left if name.startswith(prefix))
        weights.left.difference_update(found)
        if found:
            notes.append(f"left out of {checkpoint.path.name}: {prefix}* ({counted(len(found), 'tensor')}), {why}")
    if foreign := weights.left_out(family):
        notes.append(f"left out of {checkpoint.path.name}, as no part of the network: {', '.join(foreign[:3])}")
    return notes


_GEOMETRY = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "ceil_mode", "eps")
_NOTHING = {"Dropout", "Dropout1d", "Dropout2d", "Identity"}


def _compare_with_recorded(checkpoint: Checkpoint, module: Any) -> None:
    """A pickled module recorded what its layers were: the family must have built the same."""
    for name, own in module.named_modules():
        recorded = checkpoint.modules.get(name)
        if recorded is None:
            continue
        for what, theirs, ours in _differences(recorded, own):
            raise InputError(
                f"{checkpoint.path}: module {name or 'itself'} has {what} {theirs}, where the family has {ours}",
                remedy=_ANOTHER,
            )


def _differences(recorded: Module, own: Any) -> Iterator[tuple[str, object, object]]:
    kind = recorded.kind.rpartition(".")[2]
    ours = type(own).__name__
    both_of_torch = recorded.kind.startswith("torch.nn.") and type(own).__module__.startswith("torch.nn.")
    if both_of_torch and kind != ours and not {kind, ours} <= _NOTHING:
        yield "class", kind, ours
    for attribute in _GEOMETRY:
        if attribute in recorded.attributes and hasattr(own, attribute):
            theirs, mine = _sides(recorded.attributes[attribute]), _sides(getattr(own, attribute))
            if theirs != mine:
                yield attribute, theirs, mine


def _sides(value: Any) -> Any:
    """A pair of equal sides as one number: both are ways to say the same."""
    sides = set(value) if isinstance(value, tuple | list) else {value}
    return sides.pop() if len(sides) == 1 else value


def _published(source: Source, family: str, made: TorchNetwork, spec: Spec) -> Iterator[str]:
    """What is taken from the family where the user states nothing."""
    tables = [table for table in ("input", "outputs") if table in made.spec and table not in source.stated]
    if not tables:
        return
    said = []
    if "input" in tables:
        crop = spec.input.crop
        aligned = "" if crop is None or crop.align == "none" else ", aligned by " + crop.align.replace("_", " ")
        cut = "" if crop is None else f", faces cut with a margin of {crop.margin:g}{aligned}"
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (spec.input.mean, spec.input.std))
        said.append(f"{spec.input.size[0]}x{spec.input.size[1]} pixels, mean {mean}, std {std}{cut}")
    if "outputs" in tables:
        said += [f"{output.name}: {', '.join(output.labels) or output.kind}" for output in spec.outputs]
    otherwise = f"If yours was trained otherwise, write {source.sidecar.name}"
    yield f"as family {family} states it: {'; '.join(said)}. {otherwise}"


# --- export -----------------------------------------------------------------------------------------------


class _Heads(torch.nn.Module):  # type: ignore[misc]
    """The module, which takes states in the Spec's order, and of which only a tuple of tensors is returned.

    Attributes:
        names: theirs, in order.
    """

    def __init__(self, made: TorchNetwork, spec: Spec, source: Source) -> None:
        super().__init__()
        self.module = made.module.eval()
        self.names: tuple[str, ...] = ()
        self._arguments = _arguments(made.module, spec, source)
        example = _example(spec)
        try:
            with torch.no_grad():
                returned = self._returned(*example)
        except Exception as error:
            raise InputError(
                f"{source.path}: the module fails on {_shapes(example)}: {type(error).__name__}: "
                f"{str(error).strip().splitlines()[0] if str(error) else ''}",
                remedy="Are input.size, input.color and the states in the Spec those of the training?",
            ) from error
        self.names = _names(made, returned, source)

    def _returned(self, image: Tensor, *states: Tensor) -> Any:
        if self._arguments is None:
            return self.module(image, *states)
        return self.module(image, **dict(zip(self._arguments, states, strict=True)))

    def forward(self, *fed: Tensor) -> tuple[Tensor, ...]:
        """What the module returns, by the order of `names`."""
        returned = self._returned(*fed)
        if isinstance(returned, dict):
            return tuple(returned[name] for name in self.names)
        return tuple(returned) if isinstance(returned, list | tuple) else (returned,)


def _arguments(module: Any, spec: Spec, source: Source) -> tuple[str, ...] | None:
    """Of forward, those that take the states, in the Spec's order; None where they have no names."""
    taken = list(signature(module.forward).parameters.values())[1:]
    if any(each.kind is Parameter.VAR_POSITIONAL for each in taken):
        return None
    names = [each.name for each in taken]
    for state in spec.states:
        if state.input not in names:
            raise InputError(
                f"{source.path}: state {state.name} is to go to {state.input}, which the module's forward does not take"
                + (f": after the image it takes {', '.join(names)}" if names else ""),
                remedy="`input` of a state in the Spec is the name of the argument that takes it.",
            )
    return tuple(state.input for state in spec.states)


def _shapes(example: tuple[Tensor, ...]) -> str:
    image, *states = (list(tensor.shape) for tensor in example)
    return f"an image of {image}" + (f" and states of {', '.join(map(str, states))}" if states else "")


def _names(made: TorchNetwork, returned: Any, source: Source) -> tuple[str, ...]:
    tensors = [*returned.values()] if isinstance(returned, dict) else returned
    tensors = tensors if isinstance(tensors, list | tuple) else [tensors]
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise UsageError(
            f"the module returns {type(returned).__name__} of other things than tensors",
            remedy="Its forward must return a tensor, or a tuple or dict of tensors: the heads.",
        )
    if isinstance(returned, dict):
        return tuple(map(str, returned))
    names = made.outputs or (("output",) if len(tensors) == 1 else tuple(f"output{i}" for i in range(len(tensors))))
    if len(names) != len(tensors):
        raise UsageError(
            f"{source.path}: the module returns {counted(len(tensors), 'tensor')}, but {len(names)} have names",
            remedy="`outputs` of the TorchNetwork that load() returns names each, in order.",
        )
    return names


def _traced(module: Any, example: tuple[Tensor, ...], inputs: Sequence[str], names: Sequence[str], path: Path) -> None:
    """By the older exporter, which would fold batch norms to other bits than edgefer and the newer one do."""
    options = {"input_names": [*inputs], "output_names": [*names], "opset_version": OPSET, "dynamo": False}
    torch.onnx.export(module, example, str(path), training=torch.onnx.TrainingMode.PRESERVE, **options)


def _captured(
    module: Any, example: tuple[Tensor, ...], inputs: Sequence[str], names: Sequence[str], path: Path
) -> None:
    program = torch.onnx.export(
        module, example, input_names=[*inputs], output_names=[*names], dynamo=True, verbose=False
    )
    onnx.save(program.model_proto, path)


_EXPORTERS = {TRACING: _traced, CAPTURING: _captured}


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell developers of PyTorch much that users of edgefer can do nothing about."""
    with warnings.catch_warnings(), captured_stdout(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        disable(CRITICAL)
        try:
            yield
        finally:
            disable(0)
