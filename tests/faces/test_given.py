import numpy as np
import pytest

from edgefer.errors import InputError, UsageError
from edgefer.faces.detectors import detector_maker
from edgefer.faces.face import Face
from edgefer.faces.given import GivenBoxes

IMAGE = np.zeros((48, 64, 3), np.uint8)


def test_boxes_belong_to_a_frame_and_a_source(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("source,frame,x,y,w,h\na.mp4,0,1,2,3,4\na.mp4,0,0,0,9,9\nb.mp4,0,5,5,5,5\n")
    boxes = GivenBoxes(path)
    assert boxes(IMAGE, "a.mp4", 0) == [Face(0, 0, 9, 9), Face(1, 2, 3, 4)]
    assert boxes(IMAGE, "b.mp4", 0) == [Face(5, 5, 5, 5)]
    assert boxes(IMAGE, "b.mp4", 1) == []


def test_without_a_source_they_are_of_the_only_one(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("frame,x,y,w,h,score\n7,1,2,3,4,0.25\n")
    assert GivenBoxes(path)(IMAGE, "any.mp4", 7) == [Face(1, 2, 3, 4, 0.25)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("frame,x,y\n0,1,2\n", "not a table of boxes"),
        ("frame,x,y,w,h\n0,1,2,3\n", "not a table of boxes"),
        ("frame,x,y,w,h\n0,1,2,0,4\n", "line 2: not a box"),
        ("frame,x,y,w,h\n0,1,2,inf,4\n", "line 2: not a box"),
        ("frame,x,y,w,h\nfirst,1,2,3,4\n", "not a table of boxes"),
    ],
)
def test_what_is_no_table_of_boxes_is_refused(tmp_path, table, message):
    path = tmp_path / "boxes.csv"
    path.write_text(table)
    with pytest.raises(InputError, match=rf"boxes\.csv: {message}"):
        GivenBoxes(path)


def test_a_picture_that_is_a_face_is_one():
    assert detector_maker("none")()(IMAGE, "", 0) == [Face(0, 0, 64, 48)]


def test_other_detectors_are_told_to_be_none(tmp_path):
    with pytest.raises(UsageError, match="haar: no such detector"):
        detector_maker("haar")
    (tmp_path / "other.onnx").write_bytes(b"not a network")
    with pytest.raises(InputError, match=r"other\.onnx: not a YuNet face detector"):
        detector_maker(tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"none\.onnx: no such file"):
        detector_maker(tmp_path / "none.onnx")
