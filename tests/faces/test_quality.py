import cv2
import numpy as np
import pytest

from edgefer.faces.face import Face
from edgefer.faces.quality import judge_quality


def scene():
    """A picture with edges everywhere."""
    return np.random.default_rng(0).integers(40, 216, (30, 40, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)


def flags(image, face):
    x, y, width, height = (round(side) for side in (face.x, face.y, face.width, face.height))
    return judge_quality(image, face, image[max(y, 0) : y + height, max(x, 0) : x + width]).flags


EYES = {"right_eye": (60.0, 60.0), "left_eye": (100.0, 60.0)}


def test_a_good_face_has_no_flags():
    assert flags(scene(), Face(40, 40, 80, 80, 0.9, {**EYES, "nose": (80.0, 80.0)})) == ()


@pytest.mark.parametrize(
    ("change", "face", "flag"),
    [
        (lambda image: image, Face(40, 40, 24, 24), "small"),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 25), Face(40, 40, 80, 80), "blurred"),
        (lambda image: image // 9, Face(40, 40, 80, 80), "dark"),
        (lambda image: image, Face(-20, 40, 80, 80), "cut"),
        (lambda image: image, Face(40, 40, 80, 80, 0.9, {**EYES, "nose": (97.0, 80.0)}), "turned"),
        (lambda image: image, Face(40, 40, 80, 80, 0.52), "low_score"),
    ],
)
def test_what_is_poor_is_named(change, face, flag):
    assert flag in flags(change(scene()), face)


def test_sharpness_does_not_depend_on_size():
    image = scene()
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    small = judge_quality(image, Face(0, 0, 200, 200), image[:200, :200]).sharpness
    assert judge_quality(large, Face(0, 0, 400, 400), large[:400, :400]).sharpness == pytest.approx(small, rel=0.1)
