from dataclasses import replace

import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.graph.contract import apply_contract, contract_nodes, head_logits, with_numbered_embeddings
from edgefer.graph.ir import Node
from edgefer.graph.onnx_io import to_onnx
from edgefer.spec import InputSpec, OutputSpec, Spec
from tests.emit.harness import run_model
from tests.graph.networks import network, numbers, operators

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
TEXT = "a = Conv(x, w)\nb = GlobalAveragePool(a)\nlogits = Flatten(b)"
WEIGHTS = {"w": numbers(6, 3, 3, 3)}
PIXELS = np.random.default_rng(1).integers(0, 256, (1, 6, 5, 3), dtype=np.uint8)
SHAPE = (1, 3, 6, 5)
SIX = tuple("abcdef")


def spec(*outputs, color="RGB", size=(6, 5)):
    heads = outputs or (OutputSpec("expression", "expression", SIX, "softmax"),)
    channels = 1 if color == "GRAY" else 3
    return Spec(InputSpec(size, MEAN[:channels], STD[:channels], color), heads)


def softmax(x):
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


ACTIVATIONS = {"softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "none": lambda x: x}


def by_hand(graph, color="RGB"):
    """What the network returns for PIXELS that are normalised outside."""
    rgb = PIXELS.astype(np.float64) / 255
    image = {"RGB": rgb, "BGR": rgb[..., ::-1], "GRAY": rgb @ [[0.299], [0.587], [0.114]]}[color]
    channels = image.shape[3]
    planes = ((image - MEAN[:channels]) / STD[:channels]).transpose(0, 3, 1, 2).astype(np.float32)
    return run_model(to_onnx(graph), {graph.inputs[0]: planes})


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_pixels_in_and_meanings_out_equal_the_work_done_by_hand(color, activation):
    graph = network(TEXT, "logits", WEIGHTS, SHAPE)
    head = OutputSpec("mood", "expression", SIX, activation)
    after = apply_contract(graph, spec(head, color=color))
    found = run_model(to_onnx(after), {"image": PIXELS})
    assert list(found) == ["mood"]
    np.testing.assert_allclose(found["mood"], ACTIVATIONS[activation](by_hand(graph, color)["logits"]), 1e-4, 1e-5)


def test_weights_that_read_bgr_pixels_and_something_else_are_flipped_for_the_pixels_only():
    text = "a = Conv<pads=[1, 1, 1, 1]>(x, w)\nb = Conv(a, w)\nc = GlobalAveragePool(b)\nlogits = Flatten(c)"
    graph = network(text, "logits", {"w": numbers(3, 3, 3, 3)}, SHAPE)
    head = OutputSpec("mood", "expression", ("a", "b", "c"))
    found = run_model(to_onnx(apply_contract(graph, spec(head, color="BGR"))), {"image": PIXELS})
    np.testing.assert_allclose(found["mood"], by_hand(graph, "BGR")["logits"], 1e-4, 1e-5)


BEGINNINGS = {
    "a convolution": "b = Conv<pads=[1, 1, 1, 1]>(x, w)",
    "a curve": "a = Relu(x)\nb = Conv(a, w)",
    "a convolution of each channel": "a = Conv<group=3>(x, v)\nb = Conv(a, w)",
    "padding": "a = Pad<mode='reflect'>(x, pads)\nb = Conv(a, w)",
    "a mean of its own": "a = Sub(x, k)\nc = Div(a, k)\nb = Conv<pads=[1, 1, 1, 1]>(c, w)",
    "what Keras does": "a = Mul(x, s)\nc = Sub(s, a)\nb = Conv<pads=[1, 1, 1, 1]>(c, w)",
    "two readers": "a = Conv(x, w)\nc = Relu(x)\nd = Conv(c, w)\nb = Add(a, d)",
}


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize("text", BEGINNINGS.values(), ids=list(BEGINNINGS))
def test_however_a_network_begins_it_reads_the_channels_that_it_was_trained_on(text, color):
    channels = 1 if color == "GRAY" else 3
    constants = {
        "w": numbers(6, channels, 3, 3),
        "v": numbers(channels, 1, 1, 1),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "k": np.abs(numbers(channels, 1, 1)),
        "s": np.float32(0.3),
    }
    text = text.replace("group=3", f"group={channels}").replace("'", '"')
    graph = network(f"{text}\ny = GlobalAveragePool(b)\nlogits = Flatten(y)", "logits", constants, (1, channels, 6, 5))
    head = OutputSpec("mood", "expression", SIX)
    after = apply_contract(graph, spec(head, color=color))
    found = run_model(to_onnx(after), {"image": PIXELS})
    np.testing.assert_allclose(found["mood"], by_hand(graph, color)["logits"], 1e-4, 1e-5)
    assert all(after.info[name].shape == array.shape for name, array in after.constants.items())


def test_channels_are_turned_without_rounding():
    graph = network("a = Relu(x)\nlogits = GlobalMaxPool(a)", "logits", {}, SHAPE)
    turned = Spec(InputSpec((6, 5), (0, 0, 0), (1 / 255,) * 3, "BGR"), (OutputSpec("most", "other", ("b", "g", "r")),))
    found = run_model(to_onnx(apply_contract(graph, turned)), {"image": PIXELS})
    np.testing.assert_array_equal(found["most"], PIXELS.max(axis=(1, 2))[:, ::-1])


def test_arithmetic_on_channels_that_a_network_begins_with_is_no_work():
    text = "a = Sub(x, k)\nb = Mul(a, s)\nc = Conv(b, w)\ny = GlobalAveragePool(c)\nlogits = Flatten(y)"
    constants = {"k": numbers(1, 3, 1, 1), "s": np.float32([[[2.0]], [[3.0]], [[4.0]]]), **WEIGHTS}
    plain = apply_contract(network(TEXT, "logits", WEIGHTS, SHAPE), spec())
    assert operators(apply_contract(network(text, "logits", constants, SHAPE), spec())) == operators(plain)


def test_a_network_of_plain_pixels_is_given_them_as_they_are():
    pixels = Spec(
        InputSpec((6, 5), (0, 0, 0), (1 / 255,) * 3), (OutputSpec("expression", "expression", SIX, "softmax"),)
    )
    after = apply_contract(network(TEXT, "logits", WEIGHTS, SHAPE), pixels)
    assert operators(after)[:3] == ["Cast", "Transpose", "Conv"]
    np.testing.assert_array_equal(after.constants["w"], WEIGHTS["w"])


@pytest.mark.parametrize("op", ["", "Softmax<axis=1>", "Sigmoid"])
@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (6,), (1, 1, 6)])
def test_an_output_with_one_axis_of_its_own_is_a_row(shape, op):
    constants = {**WEIGHTS, "shape": np.array(shape)}
    text = f"{TEXT.replace('logits', 'f')}\nz = Reshape(f, shape)"
    op = op.replace("1", str(shape.index(6)))
    text += f"\ny = {op.split('>')[0] + '>' if op.startswith('Soft') else op}(z)" if op else "\ny = Identity(z)"
    graph = network(text, "y", constants, SHAPE)
    head = spec(OutputSpec("e", "expression", SIX, "softmax" if op.startswith("Soft") else "none"))
    after = apply_contract(graph, head)
    found = run_model(to_onnx(after), {"image": PIXELS})["e"]
    np.testing.assert_allclose(found, by_hand(graph)["y"].reshape(1, 6), 1e-4, 1e-6)
    assert [node.op for node in after.nodes].count(op.split("<")[0]) == bool(op)


def test_an_embedding_is_as_wide_as_the_network_makes_it():
    graph = network(TEXT, "logits", WEIGHTS, SHAPE)
    numbered = with_numbered_embeddings(graph, spec(OutputSpec("face", "embedding")))
    assert numbered.outputs[0].labels == ("0", "1", "2", "3", "4", "5")
    assert apply_contract(graph, numbered).shape("face") == (1, 6)
    some = with_numbered_embeddings(graph, spec(OutputSpec("face", "embedding", columns=(2, 5))))
    assert apply_contract(graph, some).shape("face") == (1, 3)


def test_heads_are_columns_of_a_joint_output():
    graph = network(TEXT, "logits", WEIGHTS, SHAPE)
    heads = (
        OutputSpec("expression", "expression", ("a", "b", "c", "d"), "softmax", columns=(0, 4)),
        OutputSpec("va", "valence_arousal", ("valence", "arousal"), "tanh", columns=(4, 6)),
    )
    after = apply_contract(graph, spec(*heads))
    found = run_model(to_onnx(after), {"image": PIXELS})
    logits = by_hand(graph)["logits"]
    np.testing.assert_allclose(found["expression"], softmax(logits[:, :4]), 1e-4)
    np.testing.assert_allclose(found["va"], np.tanh(logits[:, 4:]), 1e-4, 1e-6)
    assert head_logits(after, spec(*heads)) == {"expression": "logits/columns_0", "va": "logits/columns_4"}


def test_heads_in_one_layer_become_layers_of_their_own():
    graph = network("a = Flatten(x)\nlogits = Gemm(a, v, b)", "logits", {"v": numbers(90, 6), "b": numbers(6)}, SHAPE)
    heads = (
        OutputSpec("expression", "expression", SIX[:4], "softmax", columns=(0, 4)),
        OutputSpec("va", "valence_arousal", ("valence", "arousal"), columns=(4, 6)),
    )
    after = apply_contract(graph, spec(*heads))
    assert [after.shape(node.output) for node in after.nodes if node.op == "Gemm"] == [(1, 4), (1, 2)]
    found, logits = run_model(to_onnx(after), {"image": PIXELS}), by_hand(graph)["logits"]
    np.testing.assert_allclose(found["expression"], softmax(logits[:, :4]), 1e-4)
    np.testing.assert_allclose(found["va"], logits[:, 4:], 1e-4, 1e-5)


def test_activations_of_heads_that_the_network_joins_are_the_heads_own():
    text = f"{TEXT}\ne, v = Split<axis=1>(logits, sizes)\np = Softmax(e)\nt = Tanh(v)\nz = Concat<axis=1>(p, t)"
    graph = network(text, "z", {**WEIGHTS, "sizes": np.array([4, 2])}, SHAPE)
    heads = (
        OutputSpec("e", "expression", SIX[:4], "softmax", columns=(0, 4)),
        OutputSpec("va", "valence_arousal", ("valence", "arousal"), columns=(4, 6)),
    )
    after = apply_contract(graph, spec(*heads))
    assert [after.producers[name].op for name in after.outputs] == ["Softmax", "Tanh"]
    assert not {"Split", "Concat"} & {node.op for node in after.nodes}
    found, joined = run_model(to_onnx(after), {"image": PIXELS}), by_hand(graph)["z"]
    np.testing.assert_allclose(np.concatenate([found["e"], found["va"]], axis=1), joined, 1e-4, 1e-6)


def test_heads_are_outputs_of_their_own_even_where_names_cross():
    text = TEXT.replace("logits", "expression") + "\nimage = Neg(expression)"
    graph = network(text, "expression image", WEIGHTS, SHAPE)
    heads = (
        OutputSpec("other", "expression", SIX, tensor="expression"),
        OutputSpec("expression", "expression", SIX, tensor="image"),
    )
    found = run_model(to_onnx(apply_contract(graph, spec(*heads))), {"image": PIXELS})
    expected = by_hand(graph)
    np.testing.assert_allclose(found["other"], expected["expression"], 1e-4, 1e-5)
    np.testing.assert_allclose(found["expression"], expected["image"], 1e-4, 1e-5)


def test_names_of_the_contract_that_the_network_has_taken_are_freed():
    graph = network(TEXT, "logits", WEIGHTS, SHAPE)
    names = {"x": "image", "a": "normalise/scale", "b": "network/image", "logits": "expression", "w": "expression/axes"}
    renamed = replace(
        graph,
        nodes=tuple(
            Node(name, node.op, tuple(names[v] for v in node.inputs), tuple(names[v] for v in node.outputs))
            for name, node in zip(("normalise/Mul", "expression/activation", "n"), graph.nodes, strict=True)
        ),
        inputs=("image",),
        outputs=("expression",),
        constants={"expression/axes": graph.constants["w"]},
        info={names[value]: info for value, info in graph.info.items()},
    )
    after = apply_contract(renamed, spec())
    assert len(after.named) == len(after.nodes)
    ours = contract_nodes(after)
    assert operators(replace(after, nodes=tuple(n for n in after.nodes if n.name not in ours))) == operators(graph)
    expected = softmax(by_hand(graph)["logits"])
    np.testing.assert_allclose(run_model(to_onnx(after), {"image": PIXELS})["expression"], expected, 1e-4)


def test_another_image_size_than_the_specs_is_an_error():
    with pytest.raises(InputError, match=r"input 'x' is \[1, 3, 6, 5\], but the Spec makes it \[1, 3, 5, 6\]"):
        apply_contract(network(TEXT, "logits", WEIGHTS, SHAPE), spec(size=(5, 6)))


def test_an_input_that_is_no_float_image_is_an_error():
    graph = network(TEXT, "logits", WEIGHTS, SHAPE)
    pixels = replace(graph.info["x"], dtype=np.dtype(np.uint8))
    with pytest.raises(InputError, match="input 'x' is uint8"):
        apply_contract(replace(graph, info={**graph.info, "x": pixels}), spec())


def test_several_inputs_are_an_error():
    graph = network(TEXT, "logits", WEIGHTS, SHAPE)
    with pytest.raises(InputError, match=r"has 2 inputs \(x, a\)"):
        apply_contract(replace(graph, inputs=("x", "a")), spec())


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (OutputSpec("e", "expression", ("a", "b")), r"'e' has 2 labels, but 'logits' is \[1, 6\]"),
        (OutputSpec("e", "expression", ("a", "b"), columns=(5, 7)), r"'e' has 2 labels, but 'logits' is \[1, 6\]"),
        (OutputSpec("image", "expression", SIX), "no output can be named 'image'"),
    ],
)
def test_a_head_that_does_not_fit_is_an_error(head, message):
    with pytest.raises(InputError, match=message):
        apply_contract(network(TEXT, "logits", WEIGHTS, SHAPE), spec(head))


@pytest.mark.parametrize("tensor", ["", "nowhere"])
def test_a_head_must_say_which_of_several_outputs_holds_it(tensor):
    graph = network(TEXT + "\nz = Neg(logits)", "logits z", WEIGHTS, SHAPE)
    with pytest.raises(InputError, match=f"the network returns no '{tensor or 'e'}', but logits, z") as raised:
        apply_contract(graph, spec(OutputSpec("e", "expression", SIX, tensor=tensor)))
    assert 'tensor = "logits"' in raised.value.remedy


def test_an_output_of_the_very_name_of_a_head_holds_it():
    graph = network(TEXT + "\nz = Neg(logits)", "z logits", WEIGHTS, SHAPE)
    named = apply_contract(graph, spec(OutputSpec("logits", "expression", SIX, "softmax")))
    assert named.producers[head_logits(named, spec(OutputSpec("logits", "expression", SIX)))["logits"]].op == "Flatten"


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid", "Tanh"])
@pytest.mark.parametrize("stated", ["none", "the same"])
def test_an_activation_that_the_network_has_itself_is_the_heads_own_and_not_applied_again(op, stated):
    graph = network(f"{TEXT}\nz = {op}(logits)", "z", WEIGHTS, SHAPE)
    head = spec(OutputSpec("e", "expression", SIX, "none" if stated == "none" else op.lower()))
    found = apply_contract(graph, head)
    assert [node.op for node in found.nodes].count(op) == 1
    assert found.producers["e"].name in contract_nodes(found)
    assert found.producers[head_logits(found, head)["e"]].op == "Flatten"
    plain = apply_contract(
        network(TEXT, "logits", WEIGHTS, SHAPE), spec(OutputSpec("e", "expression", SIX, op.lower()))
    )
    np.testing.assert_array_equal(*(run_model(to_onnx(each), {"image": PIXELS})["e"] for each in (found, plain)))


def test_some_columns_of_an_activation_are_not_activated_again():
    graph = network(f"{TEXT}\nz = Softmax(logits)", "z", WEIGHTS, SHAPE)
    with pytest.raises(InputError, match="the network itself ends in Softmax") as raised:
        apply_contract(graph, spec(OutputSpec("e", "expression", SIX[:4], "softmax", columns=(0, 4))))
    assert 'activation = "none"' in raised.value.remedy


def test_outputs_that_no_head_holds_leave_nothing_behind():
    graph = network(f"{TEXT}\nf = Neg(logits)", "logits f", WEIGHTS, SHAPE)
    found = apply_contract(graph, spec(OutputSpec("e", "expression", SIX, tensor="logits")))
    assert "Neg" not in {node.op for node in found.nodes}


def test_an_output_that_is_no_row_of_numbers_is_an_error():
    with pytest.raises(InputError, match=r"has 6 labels, but 'a' is \[1, 6, 4, 3\]"):
        apply_contract(network("a = Conv(x, w)", "a", WEIGHTS, SHAPE), spec())
