"""The network trained on FER2013: read in the three forms that it comes in, converted, and judged on unseen faces."""

import json

import numpy as np
import onnx
import pytest

from edgefer.graph.passes import normalise
from edgefer.networks.families import load_network
from edgefer.spec import METADATA_KEY
from tests.evaluation.tiny import SPEC, network
from tests.networks.artifacts import assert_same_weights

BUDGET = 5_200_000
FIFTH_OF_ONNX2TF = 340_000_000
"""Bytes of memory: onnx2tf's full int8 conversion of the same network takes 1.7 GB."""


@pytest.fixture
def fer_b0(converted_fer_b0):
    return converted_fer_b0[0]


def constants(path):
    """Of the network's float graph, in network order."""
    graph = normalise(load_network(path).graph)
    return [graph.constants[name] for node in graph.nodes for name in node.inputs if name in graph.constants]


def test_the_state_dict_the_pickled_module_and_the_onnx_file_give_the_same_network(shared):
    state, module, onnx_file = (
        constants(shared / "models" / file) for file in ("fer_b0.pt", "fer_b0_module.pt", "fer_b0.onnx")
    )
    assert sum(array.size for array in state) > 3_900_000
    for left, right, exported in zip(state, module, onnx_file, strict=True):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_allclose(left, exported, rtol=1e-4, atol=1e-6)  # whose norms were folded by another program


def test_both_artifacts_hold_the_same_integers(fer_b0):
    assert_same_weights(fer_b0)


def test_artifacts_are_within_the_budget_and_int8_throughout(fer_b0):
    for artifact in fer_b0.artifacts:
        if artifact.precision == "int8":
            assert artifact.bytes < BUDGET
            assert artifact.ops["float"] <= 6
            assert artifact.ops["int8"] > 200
    assert not fer_b0.manifest["quantization"]["undelegated"]


def test_artifacts_agree_with_fp32_and_with_each_other_on_unseen_faces(fer2013):
    assert fer2013.all.samples == 3589
    for artifact in fer2013.all.main.artifacts.values():
        assert artifact.drift.agreement.value >= 0.95
        assert artifact.drift.sqnr_db >= 23
    assert fer2013.all.main.cross_runtime.agreement.value >= 0.99


def test_a_conversion_takes_a_fifth_of_the_memory_of_onnx2tf(converted_fer_b0):
    assert converted_fer_b0[1] < FIFTH_OF_ONNX2TF


def test_memory_does_not_grow_with_the_number_of_images(convert_apart, tmp_path):
    """Of 112 x 112 pixels in float, 2,700 would be 400 MB; as they are in the file, they are 2 MB."""
    model = network()
    spec = {**SPEC, "input": {**SPEC["input"], "size": [112, 112]}}
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(spec)})
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 112
    onnx.save(model, tmp_path / "tiny.onnx")
    peaks = []
    for count in (300, 3000):
        images = np.random.default_rng(count).integers(0, 256, (count + 100, 16, 16, 3), np.uint8)
        np.savez(tmp_path / "faces.npz", images=images)
        peaks.append(convert_apart(tmp_path / "tiny.onnx", tmp_path / "faces.npz", count)[1])
    assert peaks[1] < 1.2 * peaks[0]
