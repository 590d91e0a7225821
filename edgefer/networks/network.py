"""A trained network as converters hand it over: a float graph and what it means.

A converter is a Python file in `converters/` (or a user's own, given by path) that defines

    def recognises(source: Source) -> bool: ...
    def load(source: Source) -> Network | TorchNetwork | torch.nn.Module: ...

`recognises` must be cheap and must not raise; a file that is given by path does without it.  `load` may raise
`InputError`.  A module is exported by edgefer, which reads its weights itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from edgefer.checkpoint import Checkpoint, Tensor, read_checkpoint, tensor_names
from edgefer.errors import InputError
from edgefer.graph.ir import Array, Graph
from edgefer.host.text import file_stem
from edgefer.images import Image
from edgefer.spec import EXAMPLES, Spec, read_toml

_SPEC = ("input", "outputs", "states")
"""What a Spec consists of; `arch` and the like are no part of it."""


class UnstatedError(InputError):
    """Nothing says what a network's input or outputs mean."""


@dataclass(frozen=True)
class Source:
    """The file a user brings, and what they say about it.

    Attributes:
        path: the checkpoint or ONNX file.
        arch: architecture that the user named, `""` if none.
        spec: Spec that the user gave explicitly, as plain data; it stands instead of the sidecar's.
        weights: key of the weights to take, where a checkpoint holds several sets, `""` if the user named none.
    """

    path: Path
    arch: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    weights: str = ""

    @property
    def name(self) -> str:
        """The file's stem, for the names of other files."""
        return file_stem(self.path.stem)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the file's bytes."""
        digest = sha256()
        try:
            with self.path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        return digest.hexdigest()

    def holds(self, *names: str) -> bool:
        """Whether it is a checkpoint in which tensors of all these names lie side by side, under any prefix."""
        first = names[0]
        places = (name.removesuffix(first) for name in self._tensor_names if f".{name}".endswith(f".{first}"))
        return any(all(f"{place}{name}" in self._tensor_names for name in names) for place in places)

    def checkpoint(self, innermost: str) -> Checkpoint:
        """The weights, which lie where a tensor of this name does that each network of the kind has.

        Raises:
            InputError: the file is no checkpoint, or it is not clear which of its weights are meant.
        """
        return read_checkpoint(self.path, self.weights, re.compile(rf"(?P<prefix>(?:.*\.)?){re.escape(innermost)}"))

    @cached_property
    def _tensor_names(self) -> frozenset[str]:
        try:
            return tensor_names(self.path)
        except InputError:  # no checkpoint
            return frozenset()

    @property
    def sidecar(self) -> Path:
        """Where a Spec beside the file is looked for."""
        return self.path.with_name(f"{self.path.stem}.spec.toml")

    @cached_property
    def stated(self) -> dict[str, Any]:
        """The Spec that was given, or else the sidecar's, and what else both say, as `arch`; options win."""
        document = read_toml(self.sidecar) if self.sidecar.exists() else {}
        further = {key: value for key, value in document.items() if not self.spec or key not in _SPEC}
        stated = {**further, **self.spec}
        return {**stated, "arch": self.arch} if self.arch else stated

    def read_spec(self, own: Mapping[str, Any] | None = None, shown: Mapping[str, Any] | None = None) -> Spec:
        """The Spec that is stated; what is not stated comes from `own`, the file's own tables.

        Args:
            own: `input`, `outputs` and `states`, as the file has them.
            shown: keys of `input` that the network itself shows, for those that nothing states.

        Raises:
            UnstatedError: a table is missing; the remedy says what to write.
            InputError: a table is wrong.
        """
        document = {**(own or {}), **self.stated}
        if missing := [table for table in ("input", "outputs") if table not in document]:
            adapted = "labels" if missing == ["outputs"] else "size, mean, std and labels"
            example = "\n".join(EXAMPLES[table] for table in missing)
            where = f"the file of --spec, or without it {self.sidecar}" if self.spec else str(self.sidecar)
            raise UnstatedError(
                f"{self.path}: nothing says what the network's {' and '.join(missing)} mean",
                remedy=f"Write {where} (adapt {adapted} to the training):\n\n{example}",
            )
        if isinstance(document["input"], dict):
            document["input"] = {**(shown or {}), **document["input"]}
        is_sidecar = self.sidecar.exists() and not self.spec
        where = str(self.sidecar) if is_sidecar else f"the Spec for {self.path}"
        return Spec.from_dict(document, where)


@dataclass(frozen=True)
class Original:
    """The network as its user runs it, and how it is fed: before anything is converted, the graph must return the same.

    Of each output, which the graph has under the same names, the numbers of the first image count; axes of one around
    them do not.

    Attributes:
        model: the ONNX file as it is, which ONNX Runtime can open, or what PyTorch exported, which goes with `answer`.
        feed: everything that the model takes, by name, for pixels (uint8 (H, W, 3), RGB, at the Spec's size, or a clip
            of them), as its own training prepared them: type, layout, batch, states as they begin, and inputs that are
            neither.
        together: the same for several images in one batch, where the model takes batches of any size.
        answer: what PyTorch itself returns for what the model is fed, where the model is its export: then this is what
            must be returned.
    """

    model: Path
    feed: Callable[[Image], Mapping[str, Array]]
    together: Callable[[Sequence[Image]], Mapping[str, Array]] | None = None
    answer: Callable[[Mapping[str, Array]], Mapping[str, Array]] | None = None


@dataclass(frozen=True)
class Twin:
    """A network's backbone as the library builds it that it was trained with, from the same weights.

    Attributes:
        arch: timm's name of it.
        tensors: its weights by timm's names, where they lie in the file.
        value: of the graph, what it returns, features (1, F).
    """

    arch: str
    tensors: Mapping[str, Tensor]
    value: str


@dataclass(frozen=True)
class Network:
    """A float network.

    Attributes:
        name: short, a stem for file names.
        family: name of the converter that read it.
        graph: takes the normalised image, float32 (1, channels, H, W) in `spec` colour order, or clip, (1, T, channels,
            H, W), then its states, and returns the heads without activation, and its states.  Batch norms need not be
            folded.
        spec: what input and outputs mean.
        source: the file it was read from.
        original: the network as its user runs it, where that is an ONNX file or a torch module.
        notes: what the user should know about how it was read.
        twin: what the graph's backbone must compute, where a library that may be installed builds it, too.
    """

    name: str
    family: str
    graph: Graph
    spec: Spec
    source: Source
    original: Original | None = None
    notes: tuple[str, ...] = ()
    twin: Twin | None = None


@dataclass(frozen=True)
class TorchNetwork:
    """A network as a torch module, which edgefer fills with the checkpoint's weights and exports.

    Attributes:
        module: a `torch.nn.Module` whose parameters and buffers are named as in the checkpoint, or a function that
            builds it: then PyTorch, which keeps as much memory as a network, is loaded in another process.  It takes
            the normalised image, float32 (N, channels, H, W), or clip, (N, T, channels, H, W), and after it the Spec's
            states, as arguments that are called as their `input`, or in the Spec's order where it takes `*states`; it
            returns the heads without activation, and the states: one tensor, or several in a tuple or in a dict by
            name.
        spec: `input`, `outputs` and `states` as the family's authors publish them, for what the user does not state.
        checkpoint: where its weights are read, `Source.path` by default.
        outputs: what the tensors of a tuple are called.
        left_out: tensors that the module does without, by how their names begin, and why.
        notes: what the user should know about how it was read.
    """

    module: Any
    spec: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    outputs: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Converter(Protocol):
    """What a file in `converters/` defines."""

    def recognises(self, source: Source) -> bool:
        """Whether this converter can load the file."""
        ...

    def load(self, source: Source) -> Any:
        """Read the file as a Network, a TorchNetwork or a torch.nn.Module.

        Raises:
            InputError: it is damaged, hostile, or does not say enough; the message says what to write.
        """
        ...
