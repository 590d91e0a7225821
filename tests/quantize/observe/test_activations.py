from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.quantize.observe import activations as statistics
from edgefer.quantize.observe.activations import cache_key, collect, load, store
from edgefer.spec import InputSpec
from tests.graph.networks import network, numbers

GRAPH = network("a = Conv(x, w)\nb = Relu(a)\ny = Neg(b)", "y", {"w": numbers(2, 3, 3, 3)})
IMAGES = [{"x": np.random.default_rng(seed).standard_normal((1, 3, 5, 5)).astype(np.float32)} for seed in range(3)]


def test_values_of_every_image_are_counted():
    steps = []
    found = collect(GRAPH, ("x", "b"), iter(IMAGES), lambda: steps.append(1))
    assert {name: int(histogram.counts.sum()) for name, histogram in found.items()} == {"x": 225, "b": 54}
    assert found["x"].maximum == max(image["x"].max() for image in IMAGES)
    assert found["b"].minimum == 0
    assert len(steps) == 3


def test_no_images_are_an_error():
    with pytest.raises(InputError, match="no calibration images"):
        collect(GRAPH, ("a",), [])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_named_with_its_image(number):
    broken = IMAGES[1]["x"].copy()
    broken[0, 0, 0, 0] = number
    with pytest.raises(InputError, match="tensor 'a' is not finite for calibration image 1"):
        collect(GRAPH, ("a",), [IMAGES[0], {"x": broken}])


def test_a_network_that_cannot_run_is_an_input_error():
    misfit = network("a = Conv(x, w)", "a", {"w": numbers(2, 7, 3, 3)})
    with pytest.raises(InputError, match="ONNX Runtime cannot run it"):
        collect(misfit, ("a",), IMAGES)


def test_stored_statistics_come_back_equal(edgefer_home):
    found = collect(GRAPH, ("a", "b"), IMAGES)
    store("key", found)
    again = load("key", ("a", "b"))
    for name, histogram in found.items():
        np.testing.assert_array_equal(again[name].counts, histogram.counts)
        assert replace(again[name], counts=0) == replace(histogram, counts=0)
    assert [path.name for path in edgefer_home.rglob("*.npz")] == ["key.npz"]
    assert [path for path in edgefer_home.rglob("*") if path.is_file() and path.suffix != ".npz"] == []


def test_what_was_never_stored_or_for_other_tensors_is_none():
    assert load("key", ("a",)) is None
    store("key", collect(GRAPH, ("a", "b"), IMAGES))
    assert load("key", ("a",)) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_cache_entry_is_no_entry_or_still_right(edgefer_home, data):
    expected = collect(GRAPH, ("a",), IMAGES[:1])
    store("key", expected)
    (path,) = edgefer_home.rglob("key.npz")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = load("key", ("a",))
    if found is not None:
        np.testing.assert_array_equal(found["a"].counts, expected["a"].counts)


def test_a_cache_that_cannot_be_written_is_no_error(edgefer_home):
    (edgefer_home / "cache").write_text("in the way")
    store("key", collect(GRAPH, ("a",), IMAGES))
    assert load("key", ("a",)) is None


def test_the_key_depends_on_graph_tensors_images_their_pixels_and_version(monkeypatch):
    other = GRAPH.with_constants({"w": numbers(2, 3, 3, 3, seed=5)})
    spec = InputSpec((5, 5), (0.5,) * 3, (0.25,) * 3)
    keys = {cache_key(*each, spec) for each in ((GRAPH, ("a",), "1"), (other, ("a",), "1"), (GRAPH, ("b",), "1"))}
    keys.add(cache_key(GRAPH, ("a",), "2", spec))
    keys.add(cache_key(GRAPH, ("a",), "1", replace(spec, resize="nearest")))
    monkeypatch.setattr(statistics, "_VERSION", -1)
    keys.add(cache_key(GRAPH, ("a",), "1", spec))
    assert len(keys) == 6


def test_nothing_to_observe_gives_no_statistics():
    assert collect(GRAPH, (), IMAGES) == {}
