"""Heads in one layer, one far louder than the other, are stored as well as by themselves."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgefer.bundle import Bundle
from edgefer.conversion.convert import convert
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.runtime.runners import open_runner
from tests.conversion.files import write_faces, write_network
from tests.evaluation.tiny import EXPRESSIONS, SPEC, network

LOUD = 50
AFFECT = {"name": "affect", "kind": "valence_arousal", "labels": ["valence", "arousal"]}
EXPRESSION = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": list(EXPRESSIONS)}


def with_heads(weights, biases):
    """The network of a few nodes with another last layer."""
    model = network()
    for tensor in model.graph.initializer:
        if tensor.name in ("w4", "b4"):
            tensor.CopyFrom(numpy_helper.from_array(weights if tensor.name == "w4" else biases, tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(biases)
    return model


def networks():
    """Loud logits beside valence and arousal in one layer; the same in two that Concat joins; the latter alone."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in network().graph.initializer}
    layer = stored["w4"][:6], stored["b4"][:6]
    logits, affect = ([LOUD * array[:4] for array in layer], [array[4:] for array in layer])
    yield "alone", with_heads(*affect)
    yield "one layer", with_heads(*(np.concatenate(parts) for parts in zip(logits, affect, strict=True)))
    joined = with_heads(*logits)
    joined.graph.node[-1].output[0] = "logits"
    joined.graph.node.extend(
        [
            helper.make_node("Gemm", ["flat", "w5", "b5"], ["va"], "affect_layer", transB=1),
            helper.make_node("Concat", ["logits", "va"], ["y"], "join", axis=1),
        ]
    )
    joined.graph.initializer.extend(map(numpy_helper.from_array, affect, ("w5", "b5")))
    joined.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6
    onnx.checker.check_model(joined)
    yield "Concat", joined


def noise(bundle: Bundle, faces, format):
    """Noise over signal of valence and arousal, where only what differs between images is signal."""
    pixels = list(iter_pixels(open_images(faces), bundle.spec.input))
    reference, artifact = (open_runner(bundle.artifact(*which), which[0]) for which in (("onnx", "float32"), (format,)))
    expected, found = (np.stack([run(image)["affect"] for image in pixels]) for run in (reference, artifact))
    return np.square(found - expected).sum() / np.square(expected - expected.mean(axis=0)).sum()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    faces = write_faces(folder / "faces", 48)
    found = {}
    for name, model in networks():
        path = write_network(folder / f"{name.replace(' ', '_')}.onnx", model, spec=False)
        heads = [AFFECT] if name == "alone" else [EXPRESSION | {"columns": [0, 4]}, AFFECT | {"columns": [4, 6]}]
        found[name] = convert(
            path, folder / path.stem, calibration=faces, spec={"input": SPEC["input"], "outputs": heads}
        )
    return faces, found


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("name", ["one layer", "Concat"])
def test_a_head_beside_one_fifty_times_louder_is_as_good_as_alone(bundles, name, format):
    faces, found = bundles
    joint, alone = (noise(found[each], faces, format) for each in (name, "alone"))
    assert joint < 1e-2
    assert joint < 1.5 * alone
