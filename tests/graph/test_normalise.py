import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgefer.graph.onnx_io import from_onnx, to_onnx
from edgefer.graph.passes import normalise
from tests.emit import random_networks as steps
from tests.emit.harness import run_model, sample
from tests.graph.networks import assert_same_outputs, network, norm_constants, numbers, operators


def idle(net):
    op = net.choose("Identity", "Dropout", "Mul", "Add", "Sub", "Reshape", "Pad", "Slice", "Cast", "Concat")
    rank = len(net.shape)
    more = {
        "Mul": [net.constant(np.ones((), np.float32))],
        "Add": [net.constant(np.zeros(1, np.float32))],
        "Sub": [net.constant(np.zeros((1,) * rank, np.float32))],
        "Reshape": [net.indices(*net.shape)],
        "Pad": [net.indices(*[0] * 2 * rank)],
        "Slice": [net.indices(0), net.indices(2**31), net.indices(rank - 1)],
    }
    attributes = {"Cast": {"to": 1}, "Concat": {"axis": 0}}
    net.add(op, net.last, *more.get(op, []), **attributes.get(op, {}))


def norm_of_all_kinds(net):
    channels = net.shape[1]
    gamma, beta, mean = (net.choose(net.numbers(channels), net.constant(np.zeros(channels, np.float32))) for _ in "gbm")
    variance = net.constant(np.full(channels, 0.6, np.float32))
    net.add("BatchNormalization", net.last, gamma, beta, mean, variance, epsilon=net.choose(1e-5, 1e-3))


def padded_convolution(net):
    amounts = [net.choose(0, 1, 2) for _ in range(4)]
    net.add("Pad", net.last, net.indices(0, 0, *amounts[:2], 0, 0, *amounts[2:]), mode=net.choose("constant", "edge"))
    net.add(
        "Conv", net.last, net.weights(3, net.shape[1], 2, 2), auto_pad=net.choose("SAME_UPPER", "SAME_LOWER", "VALID")
    )


def global_mean(net):
    net.add("ReduceMean", net.last, net.indices(-1, 2), keepdims=net.choose(0, 1))


def relus(net):
    for _ in range(net.choose(1, 2)):
        if net.draw(st.booleans()):
            net.add("Relu", net.last)
        else:
            net.add("Clip", net.last, net.constant(np.float32(0)), net.constant(np.float32(net.choose(6, 3))))


def hard_swish(net):
    x = net.last
    gate = net.add("HardSigmoid", x, alpha=net.choose(1 / 6, 0.2), beta=0.5)
    net.add("Mul", *net.draw(st.permutations([x, gate])))


def dense(net):
    if len(net.shape) > 2:
        net.add("Flatten", net.last)
    net.add("MatMul", net.last, net.weights(net.shape[1], 3))
    net.add(
        "Add", *net.draw(st.permutations([net.last, net.choose(net.numbers(3), net.numbers(1, 3), net.numbers(1))]))
    )


IMAGE_STEPS = (steps.convolution, norm_of_all_kinds, norm_of_all_kinds, padded_convolution, global_mean)
ANY_STEPS = (idle, idle, relus, hard_swish, dense, steps.residual, steps.silu)


@st.composite
def written_by_exporters(draw):
    """Models full of what normalisation is there to tidy up, and of near misses."""
    net = steps.Net(draw)
    for _ in range(draw(st.integers(1, 8))):
        is_image = len(net.shape) == 4 and min(net.shape[2:]) >= 3
        draw(st.sampled_from((*IMAGE_STEPS, *ANY_STEPS) if is_image else ANY_STEPS))(net)
    made = [value for value in net.shapes if value != "x"]
    outputs = dict.fromkeys([net.last, *draw(st.lists(st.sampled_from(made), max_size=2))])
    for node in net.nodes:
        if draw(st.booleans()):
            node.name = ""
    graph = helper.make_graph(
        net.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, net.shapes["x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, net.shapes[name]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in net.constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@settings(max_examples=80, deadline=None)
@given(written_by_exporters())
def test_a_normalised_network_computes_what_the_exported_one_does(model):
    graph = from_onnx(model)
    after = normalise(graph)
    feeds = sample(graph)
    expected, found = run_model(model, feeds), run_model(to_onnx(after), feeds)
    assert after.outputs == tuple(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, 1e-4, 1e-4 * max(1, np.abs(values).max(initial=0)))
    assert normalise(after) is after
    assert len(after.named) == len(after.nodes)
    assert to_onnx(after).SerializeToString() == to_onnx(normalise(from_onnx(model))).SerializeToString()


def test_a_network_of_the_usual_parts_comes_out_in_the_usual_form():
    text = """padded = Pad(x, pads)
        a = Conv<strides=[2, 2]>(padded, w)
        b = BatchNormalization(a, gamma, beta, mean, variance)
        c = Clip(b, zero, six)
        d = Dropout(c)
        e = ReduceMean<keepdims=0>(d, axes)
        f = MatMul(e, v)
        g = Add(bias, f)
        y = Identity(g)"""
    constants = {
        "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
        "w": numbers(4, 3, 3, 3),
        **norm_constants(4),
        "zero": np.float32(0),
        "six": np.float32(6),
        "axes": np.array([2, 3]),
        "v": numbers(4, 2),
        "bias": numbers(2),
    }
    graph = network(text, "y", constants, x=(1, 3, 8, 8))
    after = normalise(graph)
    assert operators(after) == ["Conv+Relu6", "GlobalAveragePool", "Flatten", "Gemm"]
    assert_same_outputs(graph, after)
