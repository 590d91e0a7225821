import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.images import open_images

IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)


@pytest.fixture
def opened(tmp_path):
    def open_with(**arrays):
        np.savez(tmp_path / "set.npz", images=IMAGES, **arrays)
        return open_images(tmp_path / "set.npz")

    return open_with


def test_arrays_with_a_row_per_image_are_read(opened):
    images = opened(clean=np.array([True, False, True]), valence=np.array([0.1, 0.2, 0.3]), au=np.eye(3, 5))
    assert set(images.arrays) == {"clean", "valence", "au"}
    assert images.arrays["au"].shape == (3, 5)


def test_lists_of_strings_name_columns_however_many_they_are(opened):
    images = opened(columns=np.array(["a", "b", "c\n"]), longer=np.array(["x"] * 7))
    assert images.columns == {"columns": ("a", "b", "c\\n"), "longer": ("x",) * 7}
    assert images.arrays == {}


def test_other_arrays_are_ignored_and_never_unpickled(opened):
    images = opened(short=np.ones(2), scalar=np.float32(1), deep=np.ones((3, 2, 2)), objects=np.array([{}, {}, {}]))
    assert (images.arrays, images.columns) == ({}, {})


def test_a_selection_keeps_the_rows_of_its_images(opened):
    images = opened(valence=np.array([0.1, 0.2, 0.3]), names=np.array(["a"])).select([2, 0])
    assert images.arrays["valence"].tolist() == [0.3, 0.1]
    assert images.columns == {"names": ("a",)}


def test_targets_do_not_change_what_the_set_is(opened):
    assert opened(valence=np.zeros(3)).sha256 == opened(valence=np.ones(3)).sha256 == opened().sha256


def test_a_damaged_array_is_named(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=IMAGES, valence=np.array([0.1, 0.2, 0.3]))
    data = bytearray(path.read_bytes())
    data[data.index(np.float64(0.2).tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="`valence` is not readable"):
        open_images(path)
