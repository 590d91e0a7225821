import numpy as np
import pytest
from PIL import Image, ImageSequence

from edgefer.video.first_picture import first_picture_s
from edgefer.video.recordings import VideoFile
from tests.video.videos import block_times, edit, write_gif, write_matroska, write_video

UNEVEN_MS = [1040, 1075, 1200, 1201, 2033, 7950]
TICKS = 10_240  # a second, in an MP4 at 10 frames per second that OpenCV writes


def times(path):
    return [frame.time_s for frame in VideoFile(path).frames()]


@pytest.mark.parametrize("sound_ms", [(), (0, 20, 1060)])
def test_a_matroska_file_that_does_not_begin_at_0_has_the_times_of_its_blocks(tmp_path, sound_ms):
    path = write_matroska(tmp_path / "a.mkv", UNEVEN_MS, sound_ms)
    assert times(path) == [ms / 1000 for ms in UNEVEN_MS]
    assert first_picture_s(path) == 1.04


@pytest.mark.parametrize(
    ("edits", "first", "count"),
    [
        ([(1600, 0)], 0.0, 16),
        ([(500, -1), (1600, 0)], 0.5, 16),  # shown half a second late
        ([(1300, 3 * TICKS // 10)], 0.0, 13),  # cut
        ([(250, -1), (250, -1), (1300, 3 * TICKS // 10)], 0.5, 13),
        ([(1260, 3 * TICKS // 10 + TICKS // 25)], 0.06, 12),  # cut between two frames
    ],
)
def test_an_mp4_has_the_times_of_its_edit_list(tmp_path, edits, first, count):
    found = times(edit(write_video(tmp_path / "a.mp4", 16), *edits))
    np.testing.assert_allclose(found[:12], first + np.arange(12) / 10, atol=1e-4)
    assert len(found) == count


def test_where_a_file_says_nothing_the_first_picture_is_the_start(tmp_path):
    for path in (write_video(tmp_path / "a.avi", 3, codec="MJPG"), write_gif(tmp_path / "a.gif", [100, 200])):
        assert times(path)[0] == first_picture_s(path) == 0


def test_a_damaged_file_says_something_or_nothing(tmp_path):
    for path in (write_matroska(tmp_path / "a.mkv", [500]), edit(write_video(tmp_path / "a.mp4", 2), (500, -1))):
        data = path.read_bytes()
        for place in range(0, len(data), 5):
            path.write_bytes(data[:place])
            assert first_picture_s(path) in (0, 0.5)
            path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
            assert 0 <= first_picture_s(path) < np.inf


def test_shared_clips_have_the_times_of_their_containers(shared):
    clips = shared / "data" / "clips"
    for path in sorted(clips.glob("*.mkv")):
        assert times(path) == pytest.approx(block_times(path), abs=1e-6)
    (path,) = clips.glob("*.gif")
    with Image.open(path) as picture:
        lasting = [frame.info["duration"] for frame in ImageSequence.Iterator(picture)]
    assert times(path) == pytest.approx(np.cumsum([0, *lasting[:-1]]) / 1000, abs=1e-6)
