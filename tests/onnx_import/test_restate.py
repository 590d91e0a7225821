"""Operators of other opsets compute what ONNX Runtime makes of the originals."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.graph.ir import OPSET
from edgefer.onnx_import.restate.restatements import _RESTATED
from tests.graph.networks import norm_constants, numbers, operators
from tests.onnx_import.models import assert_read_as, imported, model

INT = np.int64


ENLARGING = [(2, 2), (3, 2), (1.5, 2.5), (1, 1.3)]
SHRINKING = [(0.5, 0.5), (0.25, 0.25), (0.3, 0.7), (2, 0.5), (1.7, 0.6), (1, 0.25)]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("spelling", "scales"),
    [
        *((spelling, scales) for spelling in ("Upsample 7", "Upsample 9") for scales in ENLARGING),
        *(("Resize 10", scales) for scales in ENLARGING + SHRINKING),
    ],
)
def test_resizing_before_opset_11_reads_what_onnx_runtime_reads(spelling, scales, mode):
    op, opset = spelling.split()
    factors = (1.0, 1.0, *map(float, scales))
    if opset == "7":
        text, constants = f'y = Upsample<mode="{mode}", scales={list(factors)}>(x)', {}
    else:
        text, constants = f'y = {op}<mode="{mode}">(x, s)', {"s": np.asarray(factors, np.float32)}
    assert_read_as(model(text, constants, (1, 3, 8, 6), opset=int(opset)))


@settings(deadline=None, max_examples=60)
@given(
    opset=st.sampled_from([11, 13, 18, 19]),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    placing=st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    by_scales=st.booleans(),
)
def test_resizing_since_opset_11_reads_what_onnx_runtime_reads(opset, mode, placing, rounding, size, by_scales):
    how = f'mode="{mode}", coordinate_transformation_mode="{placing}", nearest_mode="{rounding}"'
    if by_scales:
        text = f"y = Resize<{how}>(x, roi, s)"
        wanted = {"s": np.asarray([1, 1, size[0] / 5, size[1] / 7], np.float32)}
    else:
        text = f"y = Resize<{how}>(x, roi, none, s)" if opset < 13 else f"y = Resize<{how}>(x, , , s)"
        wanted = {"s": np.asarray([1, 2, *size])}
    constants = {"roi": np.zeros(0, np.float32), "none": np.zeros(0, np.float32), **wanted}
    assert_read_as(model(text, {key: constants[key] for key in constants if key in text}, (1, 2, 5, 7), opset=opset))


@pytest.mark.parametrize("rounding", ["floor", "round_prefer_floor"])
@pytest.mark.parametrize("scale", [2, 1.5, 0.5, 0.4])
def test_nearest_as_tensorflow_1_placed_it(rounding, scale):
    how = f'mode="nearest", coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="{rounding}"'
    constants = {"roi": np.zeros(0, np.float32), "s": np.asarray([1, 1, scale, scale], np.float32)}
    assert_read_as(model(f"y = Resize<{how}>(x, roi, s)", constants, opset=11))


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_resizing_of_some_axes_by_a_policy(policy):
    text = f'y = Resize<mode="linear", axes=[2, 3], keep_aspect_ratio_policy="{policy}">(x, , , s)'
    graph = assert_read_as(model(text, {"s": np.asarray([12, 3])}, (1, 3, 8, 6)))
    assert not {"axes", "keep_aspect_ratio_policy"} & graph.nodes[0].attributes.keys()


def test_a_policy_whose_sizes_are_not_what_its_scale_says_is_refused():
    text = 'y = Resize<mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger">(x, , , s)'
    with pytest.raises(InputError, match="keep_aspect_ratio_policy=not_larger at this size"):
        imported(model(text, {"s": np.asarray([12, 5])}, (1, 3, 8, 7)))


def test_half_pixels_that_are_symmetric():
    text = 'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel_symmetric">(x, , s)'
    assert_read_as(model(text, {"s": np.asarray([1, 1, 1.5, 0.5], np.float32)}, opset=19))
    with pytest.raises(InputError, match="half_pixel_symmetric at this scale"):
        imported(model(text, {"s": np.asarray([1, 1, 1.3, 0.5], np.float32)}, opset=19))


CASES = {
    "Gelu": (20, "y = Gelu(x)", {}),
    "Gelu by tanh": (20, 'y = Gelu<approximate="tanh">(x)', {}),
    "GridSample linear": (20, "y = GridSample(x, g)", {"g": numbers(1, 4, 5, 2)}),
    "GridSample cubic": (20, 'y = GridSample<mode="cubic", padding_mode="border">(x, g)', {"g": numbers(1, 4, 5, 2)}),
    "GridSample nearest": (22, 'y = GridSample<mode="nearest", align_corners=1>(x, g)', {"g": numbers(1, 4, 5, 2)}),
    "AffineGrid": (
        20,
        "p = ReduceMean<keepdims=0>(x, a)\nt = Mul(p, m)\ng = AffineGrid(t, z)\ny = GridSample(x, g)",
        {"a": np.asarray([1, 2, 3]), "m": numbers(1, 2, 3), "z": np.asarray([1, 3, 4, 5])},
    ),
    "AffineGrid aligned": (
        20,
        "p = ReduceMean<keepdims=0>(x, a)\nt = Mul(p, m)\ny = AffineGrid<align_corners=1>(t, z)",
        {"a": np.asarray([1, 2, 3]), "m": numbers(1, 2, 3), "z": np.asarray([1, 3, 4, 1])},
    ),
    "GroupNormalization 21": (
        21,
        "y = GroupNormalization<num_groups=2, epsilon=0.01>(x, s, b)",
        {"s": numbers(4), "b": numbers(4, seed=1)},
    ),
    "LayerNormalization": (17, "y = LayerNormalization<axis=-1>(x, s, b)", {"s": numbers(8), "b": numbers(8)}),
    "RMSNormalization": (23, "y = RMSNormalization(x, s)", {"s": numbers(8)}),
    "Swish": (24, "y = Swish<alpha=1.5>(x)", {}),
    "MaxPool": (22, "y = MaxPool<kernel_shape=[2, 2], dilations=[2, 2]>(x)", {}),
    "ReduceMean by attribute": (13, "y = ReduceMean<axes=[2, -1], keepdims=0>(x)", {}),
    "ReduceL2 by attribute": (11, "y = ReduceL2<axes=[1]>(x)", {}),
    "ReduceMax of all": (12, "y = ReduceMax(x)", {}),
    "ReduceMax 20": (20, "y = ReduceMax(x, a)", {"a": np.asarray([2])}),
    "ReduceSum by attribute": (11, "y = ReduceSum<axes=[-2]>(x)", {}),
    "Softmax over several axes": (11, "y = Softmax(x)", {}),
    "Softmax over the last axis": (11, "y = Softmax<axis=-1>(x)", {}),
    "LogSoftmax over several axes": (9, "y = LogSoftmax<axis=2>(x)", {}),
    "Hardmax": (12, "y = Hardmax(x)", {}),
    "Pad 2": (10, "y = Pad<pads=[0, 0, 1, 2, 0, 1, 0, 3], value=0.5>(x)", {}),
    "Pad 2 edge": (7, 'y = Pad<mode="edge", pads=[0, 0, 1, 2, 0, 0, 0, 3]>(x)', {}),
    "Pad reflect": (13, 'y = Pad<mode="reflect">(x, p)', {"p": np.asarray([0, 0, 1, 2, 0, 0, 0, 3])}),
    "Pad of some axes": (
        18,
        "y = Pad(x, p, v, a)",
        {"p": np.asarray([1, 2, 3, 0]), "v": np.float32(2), "a": np.asarray([3, -2])},
    ),
    "Pad that takes off": (13, "y = Pad(x, p)", {"p": np.asarray([0, 0, -1, 2, 0, -1, 0, -3])}),
    "Pad that wraps": (19, 'y = Pad<mode="wrap">(x, p)', {"p": np.asarray([0, 1, 1, 2, 0, 0, 0, 3])}),
    "Clip 6": (6, "y = Clip<min=-0.5>(x)", {}),
    "Clip by inputs": (11, "y = Clip(x, l, h)", {"l": np.float32(-0.5), "h": np.float32(0.25)}),
    "Slice 1": (9, "y = Slice<axes=[2, 3], starts=[1, -3], ends=[7, 1000]>(x)", {}),
    "Slice 1 of the first axes": (9, "y = Slice<starts=[0, 1], ends=[1, 3]>(x)", {}),
    "Squeeze and Unsqueeze": (11, "a = Unsqueeze<axes=[0, 5]>(x)\nb = Squeeze<axes=[0]>(a)\ny = Relu(b)", {}),
    "Split by attribute": (11, "a, b = Split<axis=1, split=[1, 3]>(x)\ny = Concat<axis=1>(b, a)", {}),
    "Split in halves": (13, "a, b = Split<axis=1>(x)\ny = Concat<axis=1>(b, a)", {}),
    "Split unevenly": (18, "a, b, c = Split<axis=2, num_outputs=3>(x)\ny = Concat<axis=2>(c, b, a)", {}),
    "Split by input": (13, "a, b = Split<axis=-1>(x, s)\ny = Concat<axis=-1>(b, a)", {"s": np.asarray([3, 5])}),
    "TopK 1": (9, "y, i = TopK<k=3>(x)", {}),
    "Dropout with a mask": (12, "d, m = Dropout(x)\nf = Cast<to=1>(m)\ny = Add(d, f)", {}),
    "Dropout 7": (7, "d = Dropout<ratio=0.3>(x)\ny = Relu(d)", {}),
    "BatchNormalization": (7, "y = BatchNormalization(x, gamma, beta, mean, variance)", norm_constants(4)),
    "BatchNormalization 9 with unread outputs": (
        9,
        "y = BatchNormalization<epsilon=0.1>(x, gamma, beta, mean, variance)",
        norm_constants(4),
    ),
    "MeanVarianceNormalization": (9, "y = MeanVarianceNormalization(x)", {}),
    "MeanVarianceNormalization by axes": (13, "y = MeanVarianceNormalization<axes=[2, 3]>(x)", {}),
    "Gemm of one number": (11, "f = Flatten(x)\ny = Gemm(f, w, c)", {"w": numbers(256, 5), "c": np.float32(2)}),
    "Gemm without a summand": (11, "f = Flatten(x)\ny = Gemm<transB=1>(f, w)", {"w": numbers(5, 256)}),
    "Scatter": (9, "y = Scatter<axis=3>(x, i, u)", {"i": np.zeros((1, 4, 8, 1), INT), "u": numbers(1, 4, 8, 1)}),
    "RoiAlign 10": (
        10,
        "y = RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(x, r, b)",
        {"r": np.asarray([[0, 0, 6, 6]], np.float32), "b": np.zeros(1, INT)},
    ),
    "Flatten 1": (6, "y = Flatten<axis=2>(x)", {}),
    "Cast by type": (9, "a = Cast<to=6>(x)\ny = Cast<to=1>(a)", {}),
    "CastLike": (19, "a = CastLike(x, i)\ny = CastLike(a, x)", {"i": np.asarray(1, np.int32)}),
    "HardSwish": (22, "y = HardSwish(x)", {}),
    "Trilu": (14, "y = Trilu(x)", {}),
    "DepthToSpace 1": (10, "y = DepthToSpace<blocksize=2>(x)", {}),
    "Upsample of a constant": (
        9,
        "u = Upsample(c, s)\ny = Mul(x, u)",
        {"c": numbers(1, 4, 4, 4), "s": np.float32([1, 1, 2, 2])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operators_compute_what_they_did(case):
    opset, text, constants = CASES[case]
    assert_read_as(model(text, constants, (1, 4, 8, 8), opset=opset))


OLDER_THAN_ONNX_RUNTIME = {
    "Add by axis": (
        6,
        "y = Add<broadcast=1, axis=1>(x, c)",
        "y = Add(x, d)",
        {"c": numbers(4), "d": numbers(4).reshape(4, 1, 1)},
    ),
    "Mul at the end": (6, "y = Mul<broadcast=1>(x, c)", "y = Mul(x, c)", {"c": numbers(8)}),
    "Pow of one number": (6, "y = Pow<broadcast=1>(x, c)", "y = Pow(x, c)", {"c": np.float32(2)}),
    "PRelu by channel": (6, "y = PRelu(x, c)", "y = PRelu(x, d)", {"c": numbers(4), "d": numbers(4).reshape(4, 1, 1)}),
    "BatchNormalization 6": (
        6,
        "y = BatchNormalization<is_test=1>(x, gamma, beta, mean, variance)",
        "y = BatchNormalization(x, gamma, beta, mean, variance)",
        norm_constants(4),
    ),
    "BatchNormalization by pixel": (
        7,
        "y = BatchNormalization<spatial=0>(x, s, b, m, v)",
        "a = Sub(x, m)\nc = Mul(a, s)\nd = Sqrt(v)\ne = Div(c, d)\ny = Add(e, b)",
        {**{key: numbers(4, 8, 8, seed=ord(key)) for key in "sbm"}, "v": 1 + numbers(4, 8, 8) ** 2},
    ),
    "Upsample 1": (
        6,
        "y = Upsample<height_scale=2.0, width_scale=3.0>(x)",
        'y = Resize<coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , t)',
        {"t": np.float32([1, 1, 2, 3])},
    ),
    "GroupNormalization 18": (
        18,
        "y = GroupNormalization<num_groups=2>(x, g, h)",
        "a = Reshape(x, r)\nb = InstanceNormalization(a, g, h)\ny = Reshape(b, s)",
        {"g": numbers(2), "h": numbers(2, seed=1), "r": np.asarray([1, 2, 128]), "s": np.asarray([1, 4, 8, 8])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OLDER_THAN_ONNX_RUNTIME)
def test_operators_that_onnx_runtime_lacks_compute_what_the_standard_says(case):
    opset, text, spelled, constants = OLDER_THAN_ONNX_RUNTIME[case]
    used = {name: array for name, array in constants.items() if name in text.replace("BatchNormalization", "")}
    others = {name: array for name, array in constants.items() if name in spelled.replace("BatchNormalization", "")}
    shape = (1, 4, 8, 8)
    assert_read_as(model(text, used, shape, opset=opset), model(spelled, others, shape), 1e-4)


@pytest.mark.parametrize(
    "extra", ["BatchNormalization<training_mode=1>(x, gamma, beta, mean, variance)", "Dropout(x, r, t)"]
)
def test_what_is_exported_as_it_trains_is_refused(extra):
    training = {"r": np.float32(0.5), "t": np.array(True)} if "Dropout" in extra else norm_constants(4)
    with pytest.raises(InputError, match="in training mode") as raised:
        imported(model(f"y = {extra}", training, (1, 4, 8, 8)))
    assert "model.eval()" in raised.value.remedy


def test_weights_that_are_standardised_by_a_batch_norm_in_training_mode_are_known():
    weights = {"w": numbers(6, 3, 3, 3), "r": np.array([1, 6, 27]), "back": np.array([6, 3, 3, 3]), **norm_constants(6)}
    text = """
        rows = Reshape(w, r)
        normal, m, v = BatchNormalization<training_mode=1>(rows, gamma, beta, mean, variance)
        kernel = Reshape(normal, back)
        y = Conv<pads=[1, 1, 1, 1]>(x, kernel)
    """
    network = model(text, weights, (1, 3, 8, 8), opset=14)
    assert_read_as(network, rtol=1e-4)
    assert operators(imported(network)) == ["Conv"]


def test_a_batch_norm_hands_on_statistics_only_where_nothing_reads_them():
    text = "y, m, v, sm, sv = BatchNormalization(x, gamma, beta, mean, variance)"
    graph = imported(model(text, norm_constants(4), (1, 4, 8, 8), opset=8))
    assert operators(graph) == ["BatchNormalization"]
    with pytest.raises(InputError, match="nothing makes its output 'm'"):
        imported(model(text, norm_constants(4), (1, 4, 8, 8), opset=8, outputs=("y", "m")))


REFUSED = {
    "operator DFT of opset 20 with 3 inputs": (20, "y = DFT(x, , a)", {"a": np.asarray(1)}, (1, 3, 8, 8)),
    "operator GridSample in three dimensions": (
        20,
        "y = GridSample(x, g)",
        {"g": numbers(1, 2, 2, 2, 3)},
        (1, 3, 4, 8, 8),
    ),
    "operator Resize by scales that depend on the image": (
        18,
        "s = ReduceMax<keepdims=0>(x, a)\ny = Resize(x, , s)",
        {"a": np.asarray([0, 2, 3])},
        (1, 3, 8, 8),
    ),
    "operator Resize with mode=lanczos": (
        18,
        'y = Resize<mode="lanczos">(x, , s)',
        {"s": np.float32([1, 1, 2, 2])},
        (1, 3, 8, 8),
    ),
    "AffineGrid.* would make a constant of": (
        20,
        "f = Flatten(x)\nt = Reshape(f, i)\ny = AffineGrid(t, z)",
        {"i": np.asarray([1, 2, 3]), "z": np.asarray([1, 1, 10**6, 10**6])},
        (1, 3, 2, 1),
    ),
    "operator Pad that wraps around more than once": (
        19,
        'y = Pad<mode="wrap">(x, p)',
        {"p": np.asarray([0, 0, 0, 9, 0, 0, 0, 0])},
        (1, 3, 8, 8),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_restated_is_refused_by_its_mode(message):
    opset, text, constants, shape = REFUSED[message]
    with pytest.raises(InputError, match=message):
        imported(model(text, constants, shape, opset=opset))


QUANTIZED = {"QuantizeLinear", "DequantizeLinear"}


def test_every_operator_since_opset_6_is_restated_or_differs_in_types_alone():
    """Whatever else a version had is refused where a node uses it."""
    history = [schema for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain]
    others = set()
    for schema in history:
        versions = [other.since_version for other in history if other.name == schema.name]
        is_current_at_6 = not any(schema.since_version < version <= 6 for version in versions)
        known = [version for version in versions if version <= OPSET]
        if not is_current_at_6 or not known or (schema.name, schema.since_version) in _RESTATED:
            continue
        target = onnx.defs.get_schema(schema.name, max(known), "")
        if _signature(schema) - _signature(target):
            others.add(f"{schema.name} {schema.since_version}")
    others = {name for name in others if name.split()[0] not in QUANTIZED}
    assert others <= {
        *("DFT 20", "Range 27", "SpaceToDepth 28"),
        *("GRU 3", "LSTM 1", "RNN 1"),
        *("OptionalHasElement 15", "Scan 8"),
    }


def _signature(schema):
    inputs = {("input", item.name, str(item.option)) for item in schema.inputs}
    return inputs | {(name, str(item.type)) for name, item in schema.attributes.items()}
