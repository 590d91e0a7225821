import pytest

from edgefer.graph.passes.trim_kernels import trim_kernels
from tests.graph.networks import assert_same_outputs, network, numbers


def conv(kernel, pads, size, **attributes):
    words = {"pads": f"[{', '.join(map(str, pads))}]", **attributes}
    text = ", ".join(f"{name}={value}" for name, value in words.items())
    return network(f"y = Conv<{text}>(x, w, b)", "y", {"w": numbers(4, 3, *kernel), "b": numbers(4)}, x=(1, 3, *size))


@pytest.mark.parametrize(
    ("kernel", "pads", "size", "attributes", "trimmed"),
    [
        ((5, 5), (2, 2, 2, 2), (2, 2), {}, (3, 3)),
        ((5, 5), (2, 2, 2, 2), (2, 4), {}, (3, 5)),
        ((3, 3), (1, 1, 1, 1), (1, 1), {}, (1, 1)),
        ((3, 3), (0, 0, 1, 1), (2, 2), {"strides": "[2, 2]"}, (2, 2)),
        ((3, 3), (2, 2, 2, 2), (2, 2), {"dilations": "[2, 2]"}, (1, 1)),
    ],
)
def test_taps_that_only_meet_the_border_are_cut_and_the_outputs_stay(kernel, pads, size, attributes, trimmed):
    graph = conv(kernel, pads, size, **attributes)
    after = trim_kernels(graph)
    assert after.shape(after.nodes[0].inputs[1])[2:] == trimmed
    assert after.nodes[0].ints("kernel_shape") == trimmed
    assert_same_outputs(graph, after)
    assert trim_kernels(after) is after


def test_kernels_of_which_every_tap_meets_a_pixel_stay():
    graph = conv((5, 5), (2, 2, 2, 2), (3, 3))
    assert trim_kernels(graph) is graph
