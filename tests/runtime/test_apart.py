import os
import signal

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.errors import RefusedError
from edgefer.graph.onnx_io import to_onnx
from edgefer.plan import Plan, QuantParams
from edgefer.runtime import apart as module
from edgefer.runtime.apart import Apart, packed, unpacked
from tests.graph.networks import network

ONES = {"x": np.ones((1, 3, 2, 2), np.float32)}


@pytest.fixture(scope="module")
def apart():
    with Apart() as process:
        yield process


@pytest.fixture
def doubling():
    return network("y = Add(x, x)", "y", x=(1, 3, 2, 2))


def aborting():
    """A TFLite file that LiteRT ends its process over: no kernel can bring one operand to the other's scale."""
    graph = network("y = Add(x, far)", "y", {"far": np.full((1, 3, 2, 2), -3e38, np.float32)}, x=(1, 3, 2, 2))
    scales = {"x": 1e-3, "far": 2e36, "y": 2e36}
    plan = Plan(
        {name: QuantParams("int8", (scale,), (0,)) for name, scale in scales.items()}, {graph.nodes[0].name: "int8"}
    )
    return emit_tflite(graph, plan)


@pytest.mark.parametrize("engine", ["onnx", "unoptimised", "reference", "tflite"])
def test_every_engine_returns_outputs_by_name_for_each_feed(engine, apart, doubling):
    model = emit_tflite(doubling, Plan()) if engine == "tflite" else to_onnx(doubling).SerializeToString()
    first, second = apart.run(model, engine, [ONES, {"x": 3 * ONES["x"]}])
    assert first.keys() == {"y"}
    assert (first["y"] == 2).all() and (second["y"] == 6).all()


def test_a_runtime_that_ends_its_process_is_an_error_and_the_next_model_runs(apart, doubling):
    with pytest.raises(RefusedError, match=r"LiteRT ends its process \(signal 6, Aborted\) when it is to open it"):
        apart.run(aborting(), "tflite", [{"x": np.ones((1, 3, 2, 2), np.int8)}])
    (found,) = apart.run(to_onnx(doubling).SerializeToString(), "onnx", [ONES])
    assert (found["y"] == 2).all()


@pytest.mark.parametrize(("engine", "name"), [("onnx", "ONNX Runtime"), ("tflite", "LiteRT")])
def test_what_is_no_model_is_refused_in_our_words_and_theirs_are_the_detail(engine, name, apart):
    with pytest.raises(RefusedError, match=name) as caught:
        apart.run(b"abc", engine, [{}])
    assert caught.value.detail not in ("", str(caught.value))
    assert "[" not in str(caught.value)


def test_a_model_that_takes_too_long_is_stopped(monkeypatch, doubling):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    with Apart() as process, pytest.raises(RefusedError, match=r"longer than 0\.5 s"):
        os.kill(process._process.pid, signal.SIGSTOP)
        process.run(to_onnx(doubling).SerializeToString(), "onnx", [ONES])


def test_the_process_ends_with_its_user(doubling):
    with Apart() as process:
        process.run(to_onnx(doubling).SerializeToString(), "onnx", [ONES])
        other = process._process
    assert other.poll() is not None


def test_messages_come_back_as_they_were():
    head, arrays = {"a": [1, None]}, [{"x/0": np.eye(2, dtype=np.int8), "": np.float32(1)}, {}]
    found, found_arrays = unpacked(packed(head, arrays))
    assert found == head
    assert [list(each) for each in found_arrays] == [["x/0", ""], []]
    assert found_arrays[0]["x/0"].dtype == np.int8
