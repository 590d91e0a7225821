import cv2
import pytest

from edgefer.errors import InputError
from edgefer.video.folders import FrameFolder
from tests.video.videos import picture


def write_pictures(folder, names):
    folder.mkdir()
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    return folder


def times(folder, **options):
    return [(frame.time_s, int(frame.image[40, 30, 0]) // 10) for frame in FrameFolder(folder, **options).frames()]


def test_times_stand_in_a_table(tmp_path):
    folder = write_pictures(tmp_path / "a", ["x.png", "y.png", "z.png"])
    (folder / "times.csv").write_text("file,time_s\nz.png,0.5\nx.png,1.25\ny.png,2\n")
    assert times(folder) == [(0.5, 2), (1.25, 0), (2.0, 1)]


def test_times_stand_in_names(tmp_path):
    folder = write_pictures(tmp_path / "a", ["cam_1.5s.png", "cam_250ms.png"])
    assert times(folder) == [(0.25, 1), (1.5, 0)]


def test_times_follow_from_a_rate_and_names_count_as_people_count(tmp_path):
    folder = write_pictures(tmp_path / "a", ["2.png", "10.png", "1.png"])
    assert times(folder, fps=4) == [(0.0, 2), (0.25, 0), (0.5, 1)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "nothing says when"),
        ("file,time_s\na.png,0\n", r"says nothing of b\.png"),
        ("file,time_s\na.png,0\nb.png,soon\n", "not a table with columns file and time_s"),
        ("name\na.png\n", "not a table with columns file and time_s"),
        ("file,time_s\na.png,0\nb.png,nan\n", r"the time of b\.png is not a number of seconds"),
        ("file,time_s\na.png,1\nb.png,1\n", "two pictures are of the same time, 1 s"),
    ],
)
def test_without_times_of_their_own_pictures_are_refused(tmp_path, table, message):
    folder = write_pictures(tmp_path / "a", ["a.png", "b.png"])
    if table is not None:
        (folder / "times.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        FrameFolder(folder)
