from dataclasses import replace

import pytest

from edgefer.packaging.interface import contract_document, contract_text
from edgefer.spec import CropSpec
from tests.evaluation.conftest import tiny  # noqa: F401


class Cropped:
    """A bundle whose Spec says how faces were cut."""

    def __init__(self, bundle, crop):
        self.name, self.artifacts = bundle.name, bundle.artifacts
        self.spec = replace(bundle.spec, input=replace(bundle.spec.input, crop=crop))


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        (None, "with a margin like that of the images"),
        (
            CropSpec(0.1, detector="BlazeFace"),
            "the box of BlazeFace, and 10 % of its width and height more on each side",
        ),
        (CropSpec(), "the box of a face detector, exactly."),
        (CropSpec(0.2, square=True, align="eyes"), "made square about its middle by its longer side, turned"),
        (CropSpec(align="five_points"), "lie as in ArcFace's training data"),
    ],
)
def test_how_faces_were_cut_is_told(tiny, crop, words):  # noqa: F811
    assert words in contract_text(Cropped(tiny, crop)).decode()


def test_and_stands_in_the_data(tiny):  # noqa: F811
    assert contract_document(Cropped(tiny, None))["input"]["face_crop"] is None
    stated = contract_document(Cropped(tiny, CropSpec(0.1)))["input"]["face_crop"]
    assert stated == {"margin": 0.1, "square": False, "align": "none", "detector": ""}
