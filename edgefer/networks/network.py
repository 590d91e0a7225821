"""A trained network as converters hand it over: a float graph and what it means.

A converter is a Python file in `converters/` (or a user's own, given by path) that defines

    def recognises(source: Source) -> bool: ...
    def load(source: Source) -> Network: ...

`recognises` must be cheap and must not raise; `load` may raise `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from edgefer.errors import InputError
from edgefer.graph.ir import Array, Graph
from edgefer.host.text import file_stem
from edgefer.images import Image
from edgefer.spec import EXAMPLE, Spec, read_toml


@dataclass(frozen=True)
class Source:
    """The file a user brings, and what they say about it.

    Attributes:
        path: the checkpoint or ONNX file.
        arch: architecture that the user named, `""` if none.
        spec: Spec that the user gave explicitly, as plain data; it wins over the sidecar.
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

    @property
    def sidecar(self) -> Path:
        """Where a Spec beside the file is looked for."""
        return self.path.with_name(f"{self.path.stem}.spec.toml")

    @cached_property
    def stated(self) -> dict[str, Any]:
        """What options and the sidecar say: `input`, `outputs` and perhaps `arch`; options win."""
        document = read_toml(self.sidecar) if self.sidecar.exists() else {}
        stated = {**document, **self.spec}
        return {**stated, "arch": self.arch} if self.arch else stated

    def read_spec(self, own: Mapping[str, Any] | None = None, shown: Mapping[str, Any] | None = None) -> Spec:
        """The Spec that is stated; what is not stated comes from `own`, the file's own tables.

        Args:
            own: `input`, `outputs` and `states`, as the file has them.
            shown: keys of `input` that the network itself shows, for those that nothing states.

        Raises:
            InputError: a table is missing or wrong, or asks for what cannot be converted yet; the message says what to
                write.
        """
        document = {**(own or {}), **self.stated}
        if missing := [table for table in ("input", "outputs") if table not in document]:
            raise InputError(
                f"{self.path}: nothing says what the network's {' and '.join(missing)} mean",
                remedy=f"Write {self.sidecar} (adapt size, mean, std and labels to the training):\n\n{EXAMPLE}",
            )
        if isinstance(document["input"], dict):
            document["input"] = {**(shown or {}), **document["input"]}
        is_sidecar = self.sidecar.exists() and not self.spec
        where = str(self.sidecar) if is_sidecar else f"the Spec for {self.path}"
        spec = Spec.from_dict(document, where)
        if spec.states or spec.input.frames is not None:
            what = f"states ({', '.join(s.name for s in spec.states)})" if spec.states else "input.frames, a clip"
            raise InputError(
                f"{where} has {what}: edgefer converts networks of one image, and none yet that look at several",
                remedy="Export the part that looks at one image, up to its features, as a network of its own "
                '(kind = "embedding").',
            )
        return spec


@dataclass(frozen=True)
class Original:
    """The user's own ONNX file, and how it is fed: before anything is converted, the graph must return what it does.

    Of each of the file's outputs, which the graph has under the same names, the numbers of the first image count;
    axes of one around them do not.

    Attributes:
        path: the file as it is, which ONNX Runtime can open.
        feed: everything that the file takes, by name, for pixels (uint8 (H, W, 3), RGB, at the Spec's size), as
            its own training prepared them: type, layout, batch, and inputs that are no image.
        together: the same for several images in one batch, where the file takes batches of any size.
    """

    path: Path
    feed: Callable[[Image], Mapping[str, Array]]
    together: Callable[[Sequence[Image]], Mapping[str, Array]] | None = None


@dataclass(frozen=True)
class Network:
    """A float network.

    Attributes:
        name: short, a stem for file names.
        family: name of the converter that read it.
        graph: takes the normalised image, float32 (1, channels, H, W) in `spec` colour order, and returns the
            heads without activation.  Batch norms need not be folded.
        spec: what input and outputs mean.
        source: the file it was read from.
        original: the network as its user runs it, where that is an ONNX file.
        notes: what the user should know about how it was read.
    """

    name: str
    family: str
    graph: Graph
    spec: Spec
    source: Source
    original: Original | None = None
    notes: tuple[str, ...] = ()


class Converter(Protocol):
    """What a file in `converters/` defines."""

    def recognises(self, source: Source) -> bool:
        """Whether this converter can load the file."""
        ...

    def load(self, source: Source) -> Network:
        """Read the file.

        Raises:
            InputError: it is damaged, hostile, or does not say enough; the message says what to write.
        """
        ...
