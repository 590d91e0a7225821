"""The golden tests: what they draw, what they expect, and what they notice."""

import numpy as np
import pytest

from edgefer.images.decode import decode
from edgefer.packaging.drawings.draw import drawings
from edgefer.packaging.golden import TOLERANCE, golden_cases, golden_files
from edgefer.runtime.runners import open_runner


@pytest.fixture(scope="module")
def cases(fer_b0):
    return golden_cases(fer_b0)


def outputs(bundle, format, pixels):
    heads = open_runner(bundle.artifact(format), format)(pixels)
    return np.concatenate([heads[output.name] for output in bundle.spec.outputs])


def test_the_images_are_those_that_are_drawn(cases):
    drawn = drawings()
    assert [case.name for case in cases] == sorted(drawn)
    for case in cases:
        found = decode(case.image)
        assert found.shape == drawn[case.name].shape
        assert np.abs(found.astype(int) - drawn[case.name]).max() <= 1, "floating point may round otherwise elsewhere"


def test_no_image_has_the_size_of_the_network(cases, fer_b0):
    assert all(decode(case.image).shape[:2] != fer_b0.spec.input.size for case in cases)


def test_the_happy_drawing_is_happy_to_the_network_and_int8_is_not_far_off(cases, fer_b0):
    """A drawing is unlike any face that ranges were chosen for: int8 may prefer another label by little."""
    happy = next(case for case in cases if case.name == "happy")
    index = fer_b0.spec.outputs[0].labels.index("happy")
    heads = open_runner(fer_b0.artifact("onnx", "float32"), "onnx")(happy.pixels)
    exact = np.concatenate([heads[output.name] for output in fer_b0.spec.outputs])
    assert exact.argmax() == index
    assert all(abs(values[index] - exact[index]) < 0.15 for values in happy.expected.values())


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_swapped_colours_are_noticed(cases, fer_b0, format):
    off = [np.abs(outputs(fer_b0, format, c.pixels[:, :, ::-1]) - c.expected[format]).max() for c in cases]
    assert sum(difference > 5 * TOLERANCE[format] for difference in off) >= len(cases) / 2


def test_a_filter_that_skips_pixels_is_noticed(cases, fer_b0):
    import cv2

    size = fer_b0.spec.input.size[::-1]
    skipped = {case.name: cv2.resize(decode(case.image), size, interpolation=cv2.INTER_LINEAR) for case in cases}
    off = {case.name: np.abs(skipped[case.name].astype(int) - case.pixels).mean() for case in cases}
    assert off["pattern"] > 2


def test_the_table_has_a_line_for_every_case_and_artifact(tiny):
    cases = golden_cases(tiny)
    files = golden_files(cases, tiny.spec)
    header, *rows = [line.split("\t") for line in files["golden/expected.tsv"].decode().splitlines()]
    labels = files["labels.txt"].decode().splitlines()
    assert header == ["case", "artifact", "tolerance", *labels]
    assert labels == [label for output in tiny.spec.outputs for label in output.labels]
    assert [row[:2] for row in rows] == [[case.name, format] for case in cases for format in ("tflite", "onnx")]
    for case, row in zip(np.repeat(cases, 2), rows, strict=True):
        np.testing.assert_allclose(np.array(row[3:], float), case.expected[row[1]], atol=1e-6)
        assert files[f"golden/{case.name}.rgb"] == case.pixels.tobytes()
