import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import edgefer
from edgefer.evaluation.array_text import pack, unpack
from tests.evaluation.tiny import EXPRESSIONS


@given(arrays.arrays(np.int16, st.integers(0, 50)))
def test_classes_come_back_equal(values):
    assert np.array_equal(unpack(pack(values.astype(np.int64))), values)


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=2)))
def test_values_come_back_equal_with_what_is_unknown(values):
    assert np.array_equal(unpack(pack(values)), values, equal_nan=True)


@pytest.mark.parametrize(
    "text",
    ["", "int64[1] AAAA", "int16[2] AAAA", "int16[2] eJxjYGAAAAAEAAE", "float32[999999999] AAAA", "int16[1,2,3] AAAA"],
)
def test_what_was_not_packed_is_refused(text):
    with pytest.raises(ValueError, match=r"packed array|Incorrect padding"):
        unpack(text)


def test_an_array_larger_than_it_says_is_refused_without_unpacking_it():
    bomb = pack(np.zeros(1 << 24, np.int16))
    with pytest.raises(ValueError, match="does not have the size that it states"):
        unpack(bomb.replace(f"[{1 << 24}]", "[4]"))


def test_an_evaluation_says_what_each_model_says_of_each_image(tiny, save):
    labels = np.arange(60) % 4
    data = save(labels=labels, label_names=np.array(EXPRESSIONS), valence=np.linspace(-1, 1, 60))
    evaluation = edgefer.evaluate(tiny, data)
    said = evaluation.to_dict()["per_image"]
    chosen, true = unpack(said["expression"]["tflite"]), unpack(said["expression"]["targets"])
    assert np.mean(chosen == true) == evaluation.all.main.artifacts["tflite"].metrics.classes.accuracy
    assert np.isnan(unpack(said["affect"]["targets"])[:, 1]).all()
    assert np.array_equal(unpack(said["affect"]["reference"]), evaluation.outputs.values["reference"]["affect"])
    assert "targets" not in said["units"]
