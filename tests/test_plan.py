import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefer.errors import InputError
from edgefer.plan import Plan, QuantParams

scales = st.floats(2.0**-20, 2.0**10, width=32)
per_tensor = st.builds(lambda s, z: QuantParams("int8", (s,), (z,)), scales, st.integers(-128, 127))
per_channel = st.lists(scales, min_size=1, max_size=5).flatmap(
    lambda s: st.builds(
        lambda dtype, axis: QuantParams(dtype, tuple(s), (0,) * len(s), axis, dtype != "int32"),
        st.sampled_from(["int4", "int8", "int32"]),
        st.integers(0, 3),
    )
)
plans = st.builds(
    Plan,
    st.dictionaries(st.text(), per_tensor | per_channel, max_size=4),
    st.dictionaries(st.text(), st.sampled_from(["int8", "float"]), max_size=4),
)


@given(plans)
def test_a_plan_survives_json(plan):
    assert Plan.from_json(plan.to_json()) == plan


def test_equal_plans_give_equal_text_in_whatever_order_they_were_made():
    a, b = QuantParams("int8", (0.1,), (3,)), QuantParams("int8", (0.2,), (4,))
    first, second = (
        Plan({"a": a, "b": b}, {"n": "int8", "m": "float"}),
        Plan({"b": b, "a": a}, {"m": "float", "n": "int8"}),
    )
    assert first.to_json() == second.to_json()
    assert json.loads(first.to_json())["schema"] == "edgefer.plan/1"


STORED = {"dtype": "int8", "scale": [1], "zero_point": [0], "axis": None, "narrow": True}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "edgefer.plan/2", "nodes": {}, "tensors": {}}',
        '{"schema": "edgefer.plan/1", "nodes": {}, "tensors": []}',
        '{"schema": "edgefer.plan/1", "nodes": {}, "tensors": {"a": {"dtype": "int8"}}}',
        '{"schema": "edgefer.plan/1", "nodes": 3, "tensors": {}}',
        '{"schema": "edgefer.plan/1", "nodes": {"n": "int16"}, "tensors": {}}',
        *(
            json.dumps({"schema": "edgefer.plan/1", "nodes": {}, "tensors": {"a": {**STORED, **wrong}}})
            for wrong in (
                {"dtype": "int7"},
                {"axis": [[1]]},
                {"scale": [1, 2]},
                {"scale": [1, 2], "axis": 1, "zero_point": [0, 0, 0]},
                {"zero_point": [0.5]},
                {"zero_point": [-(2**63)]},
                {"scale": [1e300]},
                {"narrow": None},
            )
        ),
    ],
)
def test_what_is_no_plan_is_an_input_error(text):
    with pytest.raises(InputError, match="plan"):
        Plan.from_json(text)


def test_a_plan_cannot_be_changed():
    plan = Plan({"a": QuantParams("int8", (0.1,), (3,))}, {"n": "int8"})
    with pytest.raises(TypeError):
        plan.nodes["n"] = "float"
    assert plan.is_int8("n") and not plan.is_int8("m")


@given(per_tensor, arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e4, 1e4)))
def test_a_value_comes_back_within_half_a_scale_or_at_the_limit(params, values):
    low, high = params.dequantize(np.array(params.limits))
    found = params.dequantize(params.quantize(values))
    assert (np.abs(found - np.clip(values, low, high)) <= params.scale[0] * 0.5001).all()


@given(per_tensor | per_channel, st.data())
def test_every_stored_integer_comes_back_as_itself(params, data):
    low, high = params.limits
    shape = [2, 2, 2, 2]
    if params.axis is not None:
        shape[params.axis] = len(params.scale)
    bound = 2**20  # float32 holds these many steps
    dtype = np.int32 if params.dtype == "int32" else np.int8
    integers = data.draw(arrays(dtype, shape, elements=st.integers(max(low, -bound), min(high, bound))))
    stored = params.quantize(params.dequantize(integers))
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, integers)


def test_a_scalar_comes_back_as_an_array():
    params = QuantParams("int8", (0.5,), (0,))
    back = params.dequantize(params.quantize(np.array(1.0, np.float32)))
    assert isinstance(back, np.ndarray)
    assert (back.shape, back.dtype, float(back)) == ((), np.float32, 1.0)


def test_ties_round_to_even_and_what_is_too_large_saturates():
    params = QuantParams("int8", (1.0,), (1,))
    np.testing.assert_array_equal(params.quantize(np.array([0.5, 1.5, 2.5, 500, -500])), [1, 3, 3, 127, -128])
    weights = QuantParams("int8", (1.0, 2.0), (0, 0), axis=1, narrow=True)
    np.testing.assert_array_equal(weights.quantize(np.array([[-500.0, -500.0], [3.0, 3.0]])), [[-127, -127], [3, 2]])
    assert weights.limits == (-127, 127)
