import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.video.recordings import Camera, VideoFile
from tests.video.videos import turn, write_gif, write_video


def test_a_video_has_all_its_frames_at_their_times(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", 12))
    frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(12) / 10, atol=1e-3)
    assert frames[0].image.shape == (48, 64, 3)
    assert abs(int(frames[9].image[40, 30, 0]) - 90) < 12
    assert video.expected == 12


def test_it_can_be_read_again(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", 3))
    assert [frame.time_s for frame in video.frames()] == [frame.time_s for frame in video.frames()]
    assert len(video.digest) == 64


def test_uneven_times_are_the_files_own(tmp_path):
    durations = [100, 300, 50, 500, 100]
    frames = list(VideoFile(write_gif(tmp_path / "a.gif", durations)).frames())
    np.testing.assert_allclose([frame.time_s for frame in frames], np.cumsum([0, *durations[:-1]]) / 1000, atol=0.011)


def test_a_turned_video_is_shown_upright(tmp_path):
    (frame, *_) = VideoFile(turn(write_video(tmp_path / "a.mp4", 3))).frames()
    assert frame.image.shape == (64, 48, 3)
    left, right = frame.image[:, :20, 1].mean(), frame.image[:, -20:, 1].mean()
    assert right > left + 100  # what was above is to the right after a quarter turn clockwise


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 400])
def test_what_is_no_video_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4: (holds no video that can be read|not one frame)"):
        list(VideoFile(path).frames())


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match=r"none\.mp4: no such file"):
        VideoFile(tmp_path / "none.mp4")


def test_a_truncated_video_gives_the_frames_that_it_still_holds(tmp_path):
    path = write_video(tmp_path / "a.mkv", 12, codec="MJPG")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    frames = list(VideoFile(path).frames())
    assert 0 < len(frames) < 12


def test_a_camera_that_is_not_there_is_said_to_be_missing(capfd):
    with pytest.raises(InputError, match=r"camera:98: cannot be opened"):
        next(Camera(98).frames())
    assert "VIDEOIO" not in capfd.readouterr().err
