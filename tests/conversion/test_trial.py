from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgefer.conversion.convert import convert
from edgefer.conversion.suspects import Run
from edgefer.conversion.trial import TFLITE_NOISE, made_of, probe, prove, prove_tflite, run_of, sample
from edgefer.emit.tflite import emit_tflite
from edgefer.errors import InputError, RefusedError
from edgefer.graph.contract import apply_contract
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.host.progress import SILENT
from edgefer.networks.families import load_network
from edgefer.plan import Plan
from edgefer.runtime.apart import Apart
from tests.conversion.files import write_faces, write_network
from tests.evaluation.tiny import network as tiny
from tests.runtime.test_apart import aborting

STAND_IN = """
from dataclasses import replace
from edgefer.networks.families import load_network

def recognises(source):
    return True

def load(source):
    network = load_network(source.path, family="onnx_file", spec=source.spec)
    weights = network.graph.constants["w2"]
    return replace(network, graph=network.graph.with_constants({"w2": weights[:, :, ::-1].copy()}))
"""
"""A converter that is wrong on purpose: it turns the taps of a convolution upside down."""


@pytest.fixture(scope="module")
def apart():
    with Apart() as process:
        yield process


@pytest.fixture
def model(tmp_path):
    return write_network(tmp_path / "tiny.onnx")


@pytest.fixture
def network(model):
    return load_network(model)


@pytest.fixture
def noise(network):
    return sample(None, network.spec.input)


def reference(network):
    return apply_contract(normalise(network.graph), network.spec)


def upside_down(network):
    weights = network.graph.constants["w2"]
    return replace(network, graph=network.graph.with_constants({"w2": weights[:, :, ::-1].copy()}))


class Notes:
    """Keeps what is noted."""

    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)

    def detail(self, message):
        pass


def test_a_network_that_is_read_rightly_passes(network, noise, apart):
    notes = Notes()
    prove(network, reference(network), noise, apart, notes)
    assert notes.notes == []


def test_a_network_that_is_read_wrongly_is_refused_at_the_first_node_that_differs(network, noise, apart):
    wrong = upside_down(network)
    with pytest.raises(InputError, match=r"tiny\.onnx: .* is off by \d+\.\d+%.* first at node 'depthwise' \(Conv, "):
        prove(wrong, reference(wrong), noise, apart, SILENT)


def test_what_comes_from_no_onnx_file_is_compared_with_what_its_converter_built(network, noise, apart):
    built = replace(network, original=None)
    prove(built, reference(built), noise, apart, SILENT)
    with pytest.raises(InputError, match="first at node 'depthwise'"):
        prove(built, reference(upside_down(network)), noise, apart, SILENT)


def test_the_spec_is_part_of_what_is_proved(network, noise, apart):
    other = replace(network.spec, input=replace(network.spec.input, mean=(0.4, 0.5, 0.5)))
    with pytest.raises(InputError, match="first at node 'stem'"):
        prove(network, apply_contract(normalise(network.graph), other), noise, apart, SILENT)


def test_a_wrong_conversion_ends_with_3_and_leaves_nothing(model, tmp_path):
    (tmp_path / "wrong.py").write_text(STAND_IN)
    faces = write_faces(tmp_path / "faces", 6)
    with pytest.raises(InputError, match="'depthwise'") as caught:
        convert(model, tmp_path / "out", family=tmp_path / "wrong.py", calibration=faces)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_a_file_that_runs_nowhere_is_refused_by_node_and_cause(tmp_path, network, noise, apart):
    damaged = tiny()
    next(node for node in damaged.graph.node if node.name == "gate").attribute.append(
        helper.make_attribute("beta", 1.0)
    )
    onnx.save(damaged, tmp_path / "tiny.onnx")
    with pytest.raises(
        InputError, match=r"tiny\.onnx: the file itself does not run: node 'gate' \(Sigmoid\)"
    ) as caught:
        prove(network, reference(network), noise, apart, SILENT)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert "ONNXRuntimeError" in caught.value.detail


def test_a_file_that_onnx_runtime_has_no_kernels_for_is_run_by_onnx_or_said_to_be_unproved(
    tmp_path, network, noise, apart
):
    """Opset 6 broadcasts by an attribute, which ONNX Runtime never had a kernel for."""
    old = helper.make_graph(
        [
            helper.make_node("Add", ["x", "b"], ["sum"], "shift", broadcast=1, axis=1),
            helper.make_node("ReduceMean", ["sum"], ["y"], "mean", axes=[2, 3], keepdims=0),
        ],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 9])],
        [helper.make_tensor("b", TensorProto.FLOAT, [3], [1, 2, 3])],
    )
    onnx.save(helper.make_model(old, opset_imports=[helper.make_opsetid("", 6)], ir_version=3), tmp_path / "tiny.onnx")
    notes = Notes()
    prove(network, reference(network), noise, apart, notes)
    assert len(notes.notes) == 1
    assert "'shift' (Add)" in notes.notes[0]


def test_a_network_whose_answers_are_no_numbers_is_refused(tmp_path, network, noise, apart):
    endless = tiny()
    next(t for t in endless.graph.initializer if t.name == "b4").CopyFrom(
        onnx.numpy_helper.from_array(np.full(9, np.nan, np.float32), "b4")
    )
    onnx.save(endless, tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match="not finite in 'y'"):
        prove(network, reference(network), noise, apart, SILENT)


def test_a_float_tflite_file_that_is_another_network_is_refused(network, noise, apart, monkeypatch):
    prove_tflite(network, reference(network), noise, apart)
    other = emit_tflite(reference(upside_down(network)), Plan())
    monkeypatch.setattr("edgefer.conversion.trial.emit_tflite", lambda graph, plan: other)
    with pytest.raises(InputError, match=r"tiny\.onnx: the TFLite file would be another network"):
        prove_tflite(network, reference(network), noise, apart)


@pytest.mark.parametrize(("times", "is_refused"), [(TFLITE_NOISE / 1.5, False), (TFLITE_NOISE * 1.5, True)])
def test_a_float_tflite_file_may_be_off_by_what_fusing_nodes_changes_in_the_reference(
    network, noise, apart, monkeypatch, times, is_refused
):
    """A network that amplifies what is in the last bit of a float, by stand-ins for what both runtimes make of it."""

    def off_by(share):
        weights = network.graph.constants["w4"]
        return reference(replace(network, graph=network.graph.with_constants({"w4": weights * np.float32(1 + share)})))

    share = 0.03
    fused_otherwise = run_of(to_onnx(off_by(share / times)).SerializeToString(), network.spec, noise)
    other = emit_tflite(off_by(share), Plan())
    monkeypatch.setattr("edgefer.conversion.trial.emit_tflite", lambda graph, plan: other)
    with pytest.raises(InputError, match="the TFLite file would be another network"):
        prove_tflite(network, reference(network), noise, apart)
    monkeypatch.setattr(Run, "by", lambda run, kind: fused_otherwise)
    with pytest.raises(InputError, match="another network") if is_refused else nullcontext():
        prove_tflite(network, reference(network), noise, apart)


def test_an_artifact_that_ends_its_runtimes_process_is_refused_with_the_node_that_it_begins_at(network, noise, apart):
    graph = reference(network)

    def emit(part):
        return aborting() if "residual" in part.named else emit_tflite(part, Plan())

    with pytest.raises(
        RefusedError, match=r"tiny\.onnx: the int8 tflite file .* from node 'residual' \(Add\) on: LiteRT"
    ):
        probe(network, "tflite", graph, emit, noise, apart)


def test_what_runtimes_refuse_on_the_way_names_the_users_file(network):
    with pytest.raises(RefusedError, match=r"tiny\.onnx: .*: no kernel"), made_of(network):
        raise RefusedError("no kernel", detail="said")


@pytest.mark.parametrize(("axes", "is_coupled"), [([0], True), ([2, 3], False)])
def test_a_network_whose_answer_depends_on_its_batch_is_told(tmp_path, apart, axes, is_coupled):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], "over_the_batch", axes=axes),
        helper.make_node("Mul", ["a", "m"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["y"], axes=[2, 3], keepdims=0),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", ["N", 3, 8, 8]), ("y", ["N", 4]))
    )
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(weights, "w")])
    path = tmp_path / "coupled.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    input = {"size": [8, 8], "mean": [0.5] * 3, "std": [0.5] * 3}
    head = {"name": "mood", "kind": "expression", "labels": list("abcd")}
    network, progress = load_network(path, spec={"input": input, "outputs": [head]}), Notes()
    prove(network, reference(network), sample(None, network.spec.input), apart, progress)
    assert len(progress.notes) == is_coupled
    assert not is_coupled or "first at node 'over_the_batch' (ReduceMean" in progress.notes[0]
