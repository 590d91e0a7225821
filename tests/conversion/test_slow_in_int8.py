"""What XNNPACK has no fast integer kernels for: depthwise kernels of many taps, and convolutions of narrow groups."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgefer
from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.evaluation.rebuild import rebuild
from edgefer.runtime.delegation import undelegated
from tests.evaluation.tiny import SPEC, faces, network


def converted(folder, taps=3, group=8, **options):
    """A bundle of the tiny network with such kernels in its middle."""
    model = network()
    weights = np.random.default_rng(0).normal(size=(8, 8 // group, taps, taps)).astype(np.float32) / taps
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(numpy_helper.from_array(weights, "w2"))
    for node in model.graph.node:
        for attribute in node.attribute if node.name == "depthwise" else ():
            if attribute.name == "group":
                attribute.i = group
            elif attribute.name == "pads":
                attribute.ints[:] = [taps // 2] * 4
    onnx.save(model, folder / "tiny.onnx")
    np.savez(folder / "calibration.npz", images=faces(40, seed=9))
    return edgefer.convert(
        folder / "tiny.onnx", folder / "bundle", spec=SPEC, calibration=folder / "calibration.npz", **options
    )


def depthwise(bundle):
    """For each depthwise convolution of the TFLite file, the type of its numbers."""
    model = unpack(bundle.artifact("tflite").read_bytes())
    graph = model.subgraphs[0]
    code = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    found = [each for each in graph.operators if model.operatorCodes[each.opcodeIndex].builtinCode == code]
    return [graph.tensors[each.outputs[0]].type for each in found]


@pytest.mark.parametrize(("taps", "tiles"), [(7, 3), (9, 4)])
def test_large_depthwise_kernels_compute_in_float_as_sums_of_smaller_ones(tmp_path, taps, tiles):
    bundle = converted(tmp_path, taps)
    assert depthwise(bundle) == [schema.TensorType.FLOAT32] * tiles
    assert undelegated(bundle.artifact("tflite").read_bytes()) == []
    assert bundle.plan.nodes["depthwise"] == "float"
    assert {tensor.bits for name, tensor in bundle.plan.tensors.items() if name.startswith("w2")} == {8}
    assert rebuild(bundle).exact == {"onnx": True, "tflite": True}
    document = edgefer.evaluate(bundle, tmp_path / "calibration.npz").to_dict()["artifacts"]
    assert all(document[format]["agreement"]["value"] > 0.9 for format in ("tflite", "onnx"))


@pytest.mark.parametrize("precision", ["w8", "fp16"])
def test_they_do_so_from_weights_of_other_precisions(tmp_path, precision):
    bundle = converted(tmp_path, 7, precision=precision)
    assert depthwise(bundle) == [schema.TensorType.FLOAT32] * 3
    document = edgefer.evaluate(bundle, tmp_path / "calibration.npz").to_dict()
    assert all(document["artifacts"][format]["agreement"]["value"] > 0.9 for format in ("tflite", "onnx"))
    assert document["cross_runtime"]["agreement"] == 1.0


def test_where_all_must_be_integers_they_are(tmp_path):
    assert depthwise(converted(tmp_path, 7, io="int8")) == [schema.TensorType.INT8]


def test_narrow_groups_are_joined_where_the_budget_allows_it(tmp_path):
    (tmp_path / "small").mkdir()
    wide = converted(tmp_path, 3, group=4)
    size = wide.artifact("onnx").stat().st_size
    narrow = converted(tmp_path / "small", 3, group=4, budget=size - 60)
    groups = [
        [attribute.i for node in onnx.load(bundle.artifact("onnx")).graph.node for attribute in node.attribute
         if node.name == "depthwise" and attribute.name == "group"]
        for bundle in (wide, narrow)
    ]  # fmt: skip
    assert groups == [[1], [4]]
    assert rebuild(wide).exact == {"onnx": True, "tflite": True}
