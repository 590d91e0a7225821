"""What a trained network takes, returns and consists of, and what that means, before anything is converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefer.errors import UsageError
from edgefer.graph.ir import Graph, TensorInfo
from edgefer.graph.macs import macs, parameters
from edgefer.networks.families import load_network
from edgefer.networks.network import UnstatedError
from edgefer.onnx_import import read_onnx
from edgefer.spec import Spec

SCHEMA = "edgefer.outline/1"


@dataclass(frozen=True)
class Outline:
    """A float network as `convert` would read it.

    Attributes:
        name: the file's stem.
        family: the converter that reads it.
        inputs: shape and dtype of what it takes, by name.
        outputs: of what it returns.
        operators: how many nodes there are of each, the most frequent first.
        parameters: numbers that its float constants hold.
        macs: multiply-accumulates per image, or clip.
        spec: what input and outputs mean; None where nothing says.
        unstated: that nothing says what they mean, and what to write; empty where something does.
        notes: what the user should know about how it was read.
    """

    name: str
    family: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    operators: Mapping[str, int]
    parameters: int
    macs: int
    spec: Spec | None
    unstated: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.outline/1`."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "family": self.family,
            "inputs": _plain(self.inputs),
            "outputs": _plain(self.outputs),
            "operators": dict(self.operators),
            "parameters": self.parameters,
            "macs": self.macs,
            "spec": self.spec and self.spec.to_dict(),
            "unstated": self.unstated,
            "notes": list(self.notes),
        }


def outline(model: str | Path, **how: Any) -> Outline:
    """Read a trained network.

    Args:
        model: a file, or the name of a bundled network.
        how: `family`, `arch`, `spec` and `weights`, as `load_network` takes them.

    Raises:
        UsageError: it is a TFLite file, there is no such family, or several recognise the file.
        InputError: there is no such file, or it cannot be read as a network.
    """
    path = Path(model)
    if path.suffix.lower() == ".tflite":
        raise UsageError(f"{path}: not a network to convert, but an artifact", remedy="Inspect the bundle it lies in.")
    try:
        network = load_network(model, **how)
    except UnstatedError as error:
        if path.suffix.lower() != ".onnx":
            raise
        imported = read_onnx(path)
        return _of_graph(path.stem, "onnx_file", imported.graph, imported.notes, unstated=str(error))
    return _of_graph(network.name, network.family, network.graph, network.notes, network.spec)


def _of_graph(
    name: str, family: str, graph: Graph, notes: tuple[str, ...], spec: Spec | None = None, unstated: str = ""
) -> Outline:
    return Outline(
        name,
        family,
        {value: graph.info[value] for value in graph.inputs},
        {value: graph.info[value] for value in graph.outputs},
        dict(Counter(node.op for node in graph.nodes).most_common()),
        parameters(graph),
        macs(graph),
        spec,
        unstated,
        notes,
    )


def _plain(values: Mapping[str, TensorInfo]) -> dict[str, Any]:
    return {name: {"shape": list(info.shape), "dtype": str(info.dtype)} for name, info in values.items()}
