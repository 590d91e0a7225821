import numpy as np
import pytest

from edgefer.faces.crop import cut_out
from edgefer.faces.face import Face
from edgefer.spec import CropSpec


def gradient(height=100, width=200):
    """Red tells the column, green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, np.newaxis]
    return image


def test_without_a_margin_it_is_the_box():
    cut = cut_out(gradient(), Face(20, 30, 40, 50), CropSpec())
    np.testing.assert_array_equal(cut, gradient()[30:80, 20:60])


def test_a_margin_is_a_share_of_each_side():
    cut = cut_out(gradient(), Face(50, 30, 40, 20), CropSpec(margin=0.25))
    np.testing.assert_array_equal(cut, gradient()[25:55, 40:100])


def test_a_square_grows_the_shorter_side_about_the_middle():
    cut = cut_out(gradient(), Face(50, 40, 40, 20), CropSpec(square=True))
    np.testing.assert_array_equal(cut, gradient()[30:70, 50:90])


def test_outside_of_the_picture_its_edge_is_repeated():
    cut = cut_out(gradient(), Face(-10, 90, 20, 20), CropSpec())
    assert cut.shape == (20, 20, 3)
    assert (cut[:, :10, 0] == 0).all() and list(cut[0, 10:, 0]) == list(range(10))
    assert (cut[10:, :, 1] == 99).all()


@pytest.mark.parametrize("face", [Face(300, 300, 20, 20), Face(-90, -90, 20, 20)])
def test_a_box_wholly_outside_still_has_its_size(face):
    assert cut_out(gradient(), face, CropSpec()).shape == (20, 20, 3)


def test_eyes_are_levelled():
    image = np.zeros((200, 200, 3), np.uint8)
    image[85:96, 65:76, 0] = 255  # the subject's right eye, further up
    image[105:116, 125:136, 0] = 255
    face = Face(50, 50, 100, 100, points={"right_eye": (70.0, 90.0), "left_eye": (130.0, 110.0)})
    rows, columns = np.nonzero(cut_out(image, face, CropSpec(align="eyes"))[..., 0] > 128)
    left, right = rows[columns < 50].mean(), rows[columns >= 50].mean()
    assert abs(left - right) < 1.0


def test_five_points_come_to_where_training_had_them():
    placed = {"right_eye": (38.3, 51.7), "left_eye": (73.5, 51.5), "nose": (56.0, 71.7), "mouth": (56.1, 92.3)}
    turn = 2.0 * np.array([[0.8, -0.6], [0.6, 0.8]])  # twice as large, turned, moved
    points = {name: tuple(turn @ np.array(point) + (90.0, 30.0)) for name, point in placed.items()}
    image = np.zeros((400, 400, 3), np.uint8)
    x, y = map(round, points["nose"])
    image[y - 4 : y + 5, x - 4 : x + 5, 1] = 255
    cut = cut_out(image, Face(0, 0, 100, 100, points=points), CropSpec(align="five_points"))
    rows, columns = np.nonzero(cut[..., 1] > 100)
    assert cut.shape == (112, 112, 3)
    assert abs(columns.mean() - 56.0) < 1 and abs(rows.mean() - 71.7) < 1
