"""ONNX's own node tests, asked of the float graph and the float TFLite file: one JSON line for each.

    python -m tests.emit.onnx_node_tests FOLDER NAME...

It is a program, so that a runtime that takes its process down takes no other test with it: `ask` starts it again
behind the test that did.  The first input is fed and the others are constants.  What ONNX calls the batch is an
ordinary axis: a batch of one is put before it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgefer.emit.tflite import emit_tflite
from edgefer.errors import EdgeferError
from edgefer.graph.ir import Array
from edgefer.graph.passes import normalise
from edgefer.onnx_import import import_onnx
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite

Verdict: TypeAlias = Literal["passes", "refused", "wrong", "raises", "dies"]

_FED = "fed"

_NUMBERS = {getattr(TensorProto, name) for name in ("FLOAT", "FLOAT16", "DOUBLE", "INT32", "INT64", "UINT8", "BOOL")}

_TRAINING = {"Adagrad", "Adam", "Dropout", "Momentum", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}
_ANY_SHAPE = {"Compress", "NonMaxSuppression", "NonZero", "OptionalGetElement", "Range", "Unique"}
_OTHER = {"ArrayFeatureExtractor", "Bernoulli", "Binarizer", "DynamicQuantizeLinear", "QuantizeLinear", "TreeEnsemble"}
OUT_OF_SCOPE = frozenset(_TRAINING | _ANY_SHAPE | _OTHER | {"Scan"})
"""Operators that no float network of static shapes infers with: they may be refused, and are not counted."""


@dataclass(frozen=True)
class Answer:
    """What came of one test.

    Attributes:
        name: of the test.
        op: the operator that it tests, also where that is written out as its definition.
        graph: how the float graph did.
        tflite: how the float TFLite file did.
        why: for what is not `passes`.
    """

    name: str
    op: str
    graph: Verdict
    tflite: Verdict
    why: str = ""


def names(folder: Path) -> list[str]:
    """The tests that can be asked: of tensors, the first in float32 with elements, results of types that numpy has."""
    return sorted(path.parent.name for path in folder.glob("*/model.onnx") if _can_be_asked(path.parent))


def ask(folder: Path, wanted: Sequence[str]) -> Iterator[Answer]:
    """Run the tests named in processes of their own."""
    left = list(wanted)
    while left:
        command = [sys.executable, "-m", __name__, str(folder), *left]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        answers = [Answer(**json.loads(line)) for line in run.stdout.splitlines()]
        yield from answers
        left = left[len(answers) :]
        if left and run.returncode >= 0:
            raise RuntimeError(f"the program ended before {left[0]}: {run.stderr}")
        if left:
            yield Answer(left[0], _op(folder / left.pop(0)), "passes", "dies", f"signal {-run.returncode}")


def by_operator(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """The answers, in groups by operator."""
    found: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        found[answer.op].append(answer)
    return dict(sorted(found.items()))


def _can_be_asked(test: Path) -> bool:
    model = onnx.load(test / "model.onnx")
    first = next(iter(model.graph.input), onnx.ValueInfoProto()).type.tensor_type
    return (
        first.elem_type == TensorProto.FLOAT
        and all(dim.dim_value for dim in first.shape.dim)
        and all(value.type.HasField("tensor_type") for value in model.graph.input)
        and all(value.type.tensor_type.elem_type in _NUMBERS for value in model.graph.output)
    )


def _answer(test: Path) -> Answer:
    op = _op(test)
    model, feeds, expected = _question(test)
    why, verdicts = "", []
    graph = None
    for tflite in (False, True):
        try:
            if graph is None:
                graph = normalise(import_onnx(model).graph)
            found = run_tflite(emit_tflite(graph, Plan()), feeds) if tflite else run_onnx(graph, feeds)
            wrong = _differences([found[name] for name in graph.outputs], expected)
            verdicts.append("wrong" if wrong else "passes")
            why = why or wrong
        except EdgeferError as error:
            verdicts.append("refused")
            why = why or str(error)
        except Exception as error:
            verdicts.append("raises")
            why = why or f"{type(error).__name__}: {error}"
    return Answer(test.name, op, *verdicts, why.splitlines()[0][:300] if why else "")


def _op(test: Path) -> str:
    plain = test.with_name(test.name.split("_expanded")[0])
    nodes = onnx.load((plain if plain.exists() else test) / "model.onnx").graph.node
    return str(nodes[0].op_type)


def _question(test: Path) -> tuple[onnx.ModelProto, dict[str, Array], list[Array]]:
    """The model of one input with a batch of one, what to feed it, and what it returns."""
    model = onnx.load(test / "model.onnx")
    data = test / "test_data_set_0"
    given = [_array(data / f"input_{index}.pb") for index in range(len(model.graph.input))]
    expected = [_array(data / f"output_{index}.pb") for index in range(len(model.graph.output))]
    first, *others = model.graph.input
    model.graph.initializer.extend(
        numpy_helper.from_array(array, value.name) for array, value in zip(given[1:], others, strict=True)
    )
    shape = np.asarray(given[0].shape, np.int64)
    model.graph.initializer.append(numpy_helper.from_array(shape, f"{_FED}/shape"))
    model.graph.node.insert(0, helper.make_node("Reshape", [_FED, f"{_FED}/shape"], [first.name], f"{_FED}/Reshape"))
    fed = helper.make_tensor_value_info(_FED, TensorProto.FLOAT, (1, *given[0].shape))
    del model.graph.input[:]
    model.graph.input.append(fed)
    return model, {_FED: given[0][np.newaxis]}, expected


def _array(path: Path) -> Array:
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def _differences(found: Sequence[Array], expected: Sequence[Array]) -> str:
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return f"its shape is {one.shape}, not {other.shape}"
        one, other = one.astype(other.dtype).astype(np.float64), other.astype(np.float64)
        if not np.allclose(one, other, rtol=1e-3, atol=1e-5 * max(1, np.abs(other).max(initial=0)), equal_nan=True):
            return f"off by {np.nanmax(np.abs(one - other)):.3g}"
    return ""


if __name__ == "__main__":
    for _test in sys.argv[2:]:
        print(json.dumps(vars(_answer(Path(sys.argv[1]) / _test))), flush=True)
