"""TFLite Metadata, label files and the Spec travel in the file, and the file still runs."""

from __future__ import annotations

import io
import json
import zipfile

import flatbuffers
import numpy as np
import pytest
from onnx import helper

from edgefer.emit.tflite import append_associated_files, build_metadata, describe, emit_tflite
from edgefer.emit.tflite.flatbuffer import unpack
from edgefer.errors import InputError
from edgefer.plan import Plan
from edgefer.spec import Spec
from tests.emit.harness import graph_of, run_tflite, sample

SPEC = Spec.from_dict(
    {
        "input": {"size": [48, 64], "mean": [0.5] * 3, "std": [0.5] * 3},
        "outputs": [
            {"name": "expression", "kind": "expression", "activation": "softmax", "labels": ["angry", "glücklich"]},
            {"name": "mood", "kind": "valence_arousal", "activation": "tanh", "labels": ["valence", "arousal"]},
        ],
    }
)


@pytest.fixture
def model() -> bytes:
    graph = graph_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, ["y"])
    return emit_tflite(graph, Plan())


def test_a_described_file_runs_as_before_and_unzips(model: bytes) -> None:
    described = describe(model, SPEC, "network")
    feeds = {"x": np.asarray([[-1, 2, -3, 4]], np.float32)}
    np.testing.assert_array_equal(run_tflite(described, feeds)["y"], [[0, 2, 0, 4]])
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        assert archive.namelist() == ["labels_expression.txt", "labels_mood.txt", "spec.json"]
        assert archive.read("labels_expression.txt").decode() == "angry\nglücklich\n"
        assert Spec.from_dict(json.loads(archive.read("spec.json"))) == SPEC
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_describing_twice_the_same_gives_the_same_bytes(model: bytes) -> None:
    assert describe(model, SPEC, "network") == describe(model, SPEC, "network")


def test_describing_keeps_operators_and_constants(model: bytes) -> None:
    before, after = unpack(model), unpack(describe(model, SPEC, "network"))
    assert len(before.subgraphs[0].operators) == len(after.subgraphs[0].operators)
    assert [entry.name for entry in after.metadata] == [b"TFLITE_METADATA"]
    assert len(after.buffers) == len(before.buffers) + 1


def test_something_else_is_not_described() -> None:
    with pytest.raises(InputError, match="not a TFLite file"):
        describe(b"\x00" * 64, SPEC, "network")


def test_emitting_with_metadata_stores_it_under_its_name() -> None:
    graph = graph_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, ["y"])
    parsed = unpack(emit_tflite(graph, Plan(), metadata=b"M001 or so"))
    assert bytes(parsed.buffers[parsed.metadata[0].buffer].data) == b"M001 or so"
    assert run_tflite(emit_tflite(graph, Plan(), metadata=b"M001 or so"), sample(graph))["y"].shape == (1, 4)


def test_files_are_appended_behind_the_model(model: bytes) -> None:
    longer = append_associated_files(model, {"a.txt": b"one"})
    assert longer.startswith(model)
    assert append_associated_files(model, {"a.txt": b"one"}) == longer


def test_metadata_says_what_goes_in_and_comes_out() -> None:
    content = build_metadata(SPEC, "network", "Reads faces.")
    assert flatbuffers.util.BufferHasIdentifier(content, 0, b"M001")
    root = _Table.root(content)
    assert (root.string(0), root.string(1)) == ("network", "Reads faces.")
    (subgraph,) = root.tables(3)
    (image,) = subgraph.tables(2)
    properties = image.table(3).table(1)
    assert image.table(3).number(0, 1) == 2  # ImageProperties
    assert properties.number(0, 1) == 1  # RGB
    assert (properties.table(1).number(0, 4), properties.table(1).number(1, 4)) == (64, 48)
    outputs = subgraph.tables(3)
    assert [output.string(0) for output in outputs] == ["expression", "mood"]
    (labels,) = outputs[1].tables(6)
    assert (labels.string(0), labels.number(2, 1)) == ("labels_mood.txt", 2)


class _Table:
    """Just enough of a flatbuffer reader: fields by slot."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, int.from_bytes(data[:4], "little"))

    def _field(self, slot: int) -> int:
        vtable = self.position - int.from_bytes(self.data[self.position : self.position + 4], "little", signed=True)
        offset = int.from_bytes(self.data[vtable + 4 + 2 * slot : vtable + 6 + 2 * slot], "little")
        assert offset, f"field {slot} is absent"
        return self.position + offset

    def _follow(self, position: int) -> int:
        return position + int.from_bytes(self.data[position : position + 4], "little")

    def number(self, slot: int, size: int) -> int:
        field = self._field(slot)
        return int.from_bytes(self.data[field : field + size], "little")

    def string(self, slot: int) -> str:
        start = self._follow(self._field(slot))
        length = int.from_bytes(self.data[start : start + 4], "little")
        return self.data[start + 4 : start + 4 + length].decode()

    def table(self, slot: int) -> _Table:
        return _Table(self.data, self._follow(self._field(slot)))

    def tables(self, slot: int) -> list[_Table]:
        start = self._follow(self._field(slot))
        length = int.from_bytes(self.data[start : start + 4], "little")
        return [_Table(self.data, self._follow(start + 4 + 4 * index)) for index in range(length)]
