import shutil

import numpy as np
import onnx
import pytest

import edgefer
from edgefer.errors import InputError
from edgefer.runtime.model import load
from tests.conversion.files import write_faces, write_network
from tests.evaluation.tiny import EXPRESSIONS, faces


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(folder / "home"))
        return edgefer.convert(
            write_network(folder / "tiny.onnx"), folder / "out", calibration=write_faces(folder / "faces")
        )


@pytest.fixture
def image():
    return np.repeat(faces(1)[0][:, :, np.newaxis], 3, axis=2)


def test_results_are_named_and_labelled(bundle, image):
    result = edgefer.load(bundle.path)(image)
    assert list(result) == ["expression", "affect", "units"]
    expression = result["expression"]
    assert expression.labels == EXPRESSIONS
    assert expression.values.dtype == np.float32
    assert expression.top == EXPRESSIONS[int(expression.values.argmax())]
    assert expression.as_dict() == dict(zip(EXPRESSIONS, expression.values.tolist(), strict=True))
    assert sum(expression.as_dict().values()) == pytest.approx(1, abs=1e-5)
    assert all(-1 <= value <= 1 for value in result["affect"].values)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_bundle_and_its_artifact_alone_say_the_same(format, bundle, image, tmp_path):
    alone = shutil.copy(bundle.artifact(format), tmp_path)
    whole, single = load(bundle.path, format)(image), load(alone)(image)
    for name in whole:
        assert single[name].labels == whole[name].labels
        np.testing.assert_array_equal(single[name].values, whole[name].values)


def test_both_formats_say_nearly_the_same(bundle, image):
    tflite, onnx_one = (load(bundle.path, format)(image) for format in ("tflite", "onnx"))
    for name in tflite:
        np.testing.assert_allclose(tflite[name].values, onnx_one[name].values, atol=0.05)


def test_gray_images_and_images_of_any_size_are_taken(bundle, image):
    model = load(bundle.path)
    gray, colour = model(image[:, :, 0]), model(image)
    np.testing.assert_array_equal(gray["expression"].values, colour["expression"].values)
    assert model(np.zeros((1, 300, 3), np.uint8))["units"].values.shape == (3,)


def test_more_threads_say_the_same(bundle, image):
    one, two = (load(bundle.path, threads=threads)(image) for threads in (1, 2))
    np.testing.assert_array_equal(one["affect"].values, two["affect"].values)


def test_results_are_not_overwritten_by_the_next_image(bundle, image):
    model = load(bundle.path)
    first = model(image)["expression"].values
    before = first.copy()
    model(255 - image)
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_what_is_no_image_is_told_by_dtype_and_shape(array, bundle):
    with pytest.raises(InputError, match="an image is uint8") as caught:
        load(bundle.path)(array)
    assert f"{array.dtype} {array.shape}" in str(caught.value)


def test_what_is_no_array_is_told_too(bundle):
    with pytest.raises(InputError, match=r"an image is uint8.*this is a list"):
        load(bundle.path)([[1, 2], [3, 4]])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.onnx: cannot be read: No such file"):
        load(tmp_path / "gone.onnx")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"neither a bundle's directory nor a \.tflite or \.onnx file"):
        load(tmp_path / "net.pt")


def test_a_directory_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a bundle"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["net.tflite", "net.onnx"])
def test_files_that_are_none_of_ours_are_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"hardly a model")
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load(tmp_path / name)


def test_an_onnx_file_without_a_spec_is_refused(tmp_path):
    path = write_network(tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match="carries no Spec"):
        load(path)


def test_a_spec_of_another_kind_in_a_file_is_refused(tmp_path):
    path = write_network(tmp_path / "odd.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key="edgefer.spec", value="[]")
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"odd\.onnx"):
        load(path)


def test_an_altered_bundle_is_refused(bundle, tmp_path):
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    with (copy / "labels.txt").open("a") as file:
        file.write("more\n")
    with pytest.raises(InputError, match=r"labels\.txt: altered"):
        load(copy)
