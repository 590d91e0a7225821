import pytest

from edgefer.errors import InputError, UsageError
from edgefer.video.opening import open_sources
from edgefer.video.recordings import Camera
from tests.video.test_folders import write_pictures
from tests.video.videos import write_video


def test_a_folder_stands_for_its_videos_and_a_bad_one_does_not_stop_the_others(tmp_path):
    (tmp_path / "deep").mkdir()
    write_video(tmp_path / "b.mp4", 2)
    write_video(tmp_path / "deep" / "c.avi", 2, codec="MJPG")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    first, *others = open_sources([tmp_path])
    assert isinstance(first, InputError)
    assert [source.name for source in others] == ["b.mp4", "deep/c.avi"]


def test_sources_of_one_name_are_told_apart(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "a.mp4", 2)
    named = [tmp_path / "one" / "a.mp4", tmp_path / "two" / "a.mp4"]
    assert [source.name for source in open_sources(named)] == ["a.mp4", "a.mp4#2"]


def test_pictures_and_cameras_are_sources_too(tmp_path):
    folder = write_pictures(tmp_path / "frames", ["0s.png", "1s.png"])
    pictures, camera = open_sources([folder, "camera:3"])
    assert [frame.time_s for frame in pictures.frames()] == [0.0, 1.0]
    assert isinstance(camera, Camera)


def test_nothing_is_no_source():
    with pytest.raises(UsageError, match="no source is given"):
        list(open_sources([]))
