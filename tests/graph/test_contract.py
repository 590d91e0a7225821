from dataclasses import replace

import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.graph.contract import apply_contract, contract_nodes, head_logits
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
    return Spec(InputSpec(size, MEAN, STD, color), heads)


def softmax(x):
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


ACTIVATIONS = {"softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "none": lambda x: x}


def by_hand(graph, color="RGB"):
    """What the network returns for PIXELS that are normalised outside."""
    rgb = PIXELS.astype(np.float64) / 255
    image = (rgb[..., ::-1] if color == "BGR" else rgb) - MEAN
    planes = (image / STD).transpose(0, 3, 1, 2).astype(np.float32)
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


@pytest.mark.parametrize("text", ["a = Relu(x)\nb = Conv(a, w)", "b = Conv<group=3>(x, v)"])
def test_bgr_that_no_plain_convolution_reads_is_refused(text):
    more = "\nc = GlobalAveragePool(b)\nlogits = Flatten(c)"
    graph = network(text + more, "logits", {**WEIGHTS, "v": numbers(6, 1, 3, 3)}, SHAPE)
    with pytest.raises(InputError, match="BGR networks must begin with a convolution"):
        apply_contract(graph, spec(color="BGR"))


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
