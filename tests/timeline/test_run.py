import csv
import io
import json
import wave
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from edgefer.cli.main import main
from edgefer.errors import InputError
from edgefer.host.csv_tables import csv_text
from edgefer.host.directories import cache_directory
from edgefer.host.progress import Silent
from edgefer.timeline.run import RunOptions, run
from edgefer.timeline.tables import event_header, event_rows, frame_header, frame_rows
from tests.evaluation.tiny import faces
from tests.video.videos import write_gif, write_video

BOXES = "source,frame,x,y,w,h\n" + "".join(
    f"a.mp4,{frame},{5 + frame},10,20,24\n" for frame in (*range(2, 8), *range(10, 20))
)


@pytest.fixture
def clip(tmp_path):
    """A video at 10 frames per second and its boxes: a face on frames 2 to 7 and 10 to 19 of 24."""
    write_video(tmp_path / "a.mp4", 24)
    (tmp_path / "boxes.csv").write_text(BOXES)
    return tmp_path / "a.mp4"


def rows_of(bundle, found):
    header = frame_header(bundle.spec)
    return [
        dict(zip(header, row, strict=True))
        for timeline in found.timelines
        for row in frame_rows(timeline.observed, bundle.spec, timeline.lines)
    ]


def tables(bundle, found):
    rows = (row for each in found.timelines for row in frame_rows(each.observed, bundle.spec, each.lines))
    happened = (event for each in found.timelines for event in each.events)
    return csv_text(frame_header(bundle.spec), rows), csv_text(event_header(), event_rows(happened))


def test_every_frame_has_a_row_and_its_status(tiny, clip):
    found = run(tiny, [clip], options=RunOptions(boxes=clip.with_name("boxes.csv")))
    rows = rows_of(tiny, found)
    assert [int(row["frame"]) for row in rows] == list(range(24))
    statuses = ["no_face"] * 2 + ["low_quality"] * 6 + ["interpolated"] * 2 + ["low_quality"] * 10 + ["no_face"] * 4
    assert [row["status"] for row in rows] == statuses  # the face is small
    assert {row["face"] for row in rows} == {"", "1"}
    np.testing.assert_allclose([float(row["time_s"]) for row in rows], np.arange(24) / 10, atol=1e-3)
    bridged = rows[8]
    assert (float(bridged["x"]), bridged["score"], bridged["p_angry"]) == (13.0, "", "")
    assert float(bridged["smooth_p_angry"]) > 0 and bridged["expression"]


def test_scores_are_what_the_artifact_says_of_the_crop(tiny, clip):
    import edgefer

    (timeline,) = run(tiny, [clip], options=RunOptions(boxes=clip.with_name("boxes.csv"))).timelines
    capture = cv2.VideoCapture(str(clip))
    for _ in range(6):
        _, picture = capture.read()
    crop = np.ascontiguousarray(picture[10:34, 10:30, ::-1])
    expected = edgefer.load(tiny.path)(crop)
    (row,) = (
        row
        for row in rows_of(tiny, run(tiny, [clip], options=RunOptions(boxes=clip.with_name("boxes.csv"))))
        if row["frame"] == "5"
    )
    assert row["expression"] == expected["expression"].top
    assert float(row["valence"]) == pytest.approx(expected["affect"].as_dict()["valence"], abs=1e-5)
    assert float(row["smile"]) == pytest.approx(expected["expression"].as_dict()["happy"], abs=1e-5)
    assert timeline.summary.inferences == 16


def test_a_stride_asks_less_and_says_what_it_held(tiny, clip):
    found = run(tiny, [clip], options=RunOptions(boxes=clip.with_name("boxes.csv"), stride=5))
    rows = [row for row in rows_of(tiny, found) if row["face"]]
    assert [row["frame"] for row in rows if row["level"]] == ["5", "10", "15"]
    assert {row["status"] for row in rows if not row["level"]} == {"held", "interpolated"}
    assert all(row["smooth_p_angry"] for row in rows)


def test_the_same_bytes_come_out_again_and_with_other_numbers_of_workers(tiny, clip):
    others = [write_video(clip.with_name(f"{name}.mp4"), 12) for name in "bcd"]
    options = RunOptions(detector="none")
    first, second = (tables(tiny, run(tiny, [clip, *others], options=options, workers=n)) for n in (1, 3))
    assert first == second
    assert first[0].count("\n") == 1 + 24 + 36


def test_sources_that_were_done_before_an_interruption_are_not_looked_at_again(tiny, clip, monkeypatch):
    other = write_video(clip.with_name("b.mp4"), 6)
    looked = []
    real = run.__globals__["look"]

    def look(source, *arguments):
        looked.append(source.name)
        if source.name == "b.mp4" and looked.count("b.mp4") == 1:
            raise KeyboardInterrupt
        return real(source, *arguments)

    monkeypatch.setattr("edgefer.timeline.run.look", look)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, [clip, other], options=RunOptions(detector="none"), workers=1)
    found = run(tiny, [clip, other], options=RunOptions(detector="none"), workers=1)
    assert looked == ["a.mp4", "b.mp4", "b.mp4"]
    assert [timeline.summary.frames for timeline in found.timelines] == [24, 6]
    assert not [path for path in (cache_directory() / "results").rglob("*") if path.is_file()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here is always full")
def test_where_results_cannot_be_written_the_same_command_goes_on_from_what_was_seen(tiny, clip, capsys, monkeypatch):
    command = ["run", str(tiny.path), str(clip), "-o", str(clip.parent / "out"), "--detector", "none"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--json", "/dev/full"])
    assert ended.value.code == 3 and "/dev/full: cannot be written: No space left" in capsys.readouterr().err
    monkeypatch.setattr("edgefer.timeline.run.look", None)  # nothing is looked at again
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0 and "24 of 24 frames were done before" in capsys.readouterr().err
    assert not [path for path in (cache_directory() / "results").rglob("*") if path.is_file()]


def test_a_camera_that_is_taken_is_told_and_nothing_is_written(tiny, tmp_path, capsys, monkeypatch):
    taken = Mock()
    taken.isOpened.return_value, taken.read.return_value = True, (False, None)
    monkeypatch.setattr("cv2.VideoCapture", lambda number: taken)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tiny.path), "camera:0", "-o", str(tmp_path / "out"), "--detector", "none"])
    told = capsys.readouterr().err
    assert ended.value.code == 3
    assert "camera:0: gives no picture" in told and "does no other program hold it?" in told
    assert not list((tmp_path / "out").iterdir())


def test_a_broken_file_among_many_is_told_and_the_others_are_done(tiny, clip):
    clip.with_name("broken.mp4").write_bytes(b"no video")
    found = run(tiny, [clip.parent], options=RunOptions(detector="none"))
    assert [timeline.summary.source for timeline in found.timelines] == ["a.mp4"]
    ((failure),) = found.failures
    assert "broken.mp4" in failure.source and "no video" in failure.reason


def test_when_not_one_source_can_be_read_it_is_an_error(tiny, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"broken\.mp4: holds no video that can be read") as error:
        run(tiny, [tmp_path / "broken.mp4"], options=RunOptions(detector="none"))
    assert "downloaded completely" in error.value.remedy


def test_sound_alone_is_no_video(tiny, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    with pytest.raises(InputError, match=r"a\.wav: holds no video that can be read"):
        run(tiny, [tmp_path / "a.wav"], options=RunOptions(detector="none"))


def test_a_video_that_breaks_off_is_told(tiny, tmp_path):
    path = write_video(tmp_path / "a.mkv", 24, codec="MJPG")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    told = []
    progress = Silent()
    progress.note = told.append
    found = run(tiny, [path], options=RunOptions(detector="none"), progress=progress)
    frames = found.timelines[0].summary.frames
    assert 0 < frames < 24
    assert told == [f"a.mkv: ends after {frames} of about 24 frames: is it whole?"]


def test_a_video_without_frames_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"a\.mp4: (holds no video|not one frame)"):
        run(tiny, [write_video(tmp_path / "a.mp4", 0)], options=RunOptions(detector="none"))


def test_the_command_writes_tables_summary_and_a_page(tiny, clip, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("run", str(tiny.path), str(clip), "-o", str(tmp_path / "out")),
                *("--boxes", str(clip.with_name("boxes.csv")), "--consent", "form 12"),
                *("--json", str(tmp_path / "again.json")),
            ]
        )
    assert ended.value.code == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "events.csv",
        "frames.csv",
        "report.html",
        "summary.json",
    ]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["schema"], summary["consent"]) == ("edgefer.run/1", "form 12")
    assert summary == json.loads((tmp_path / "again.json").read_text())
    assert summary["sources"][0]["with_face"] == 18
    page = (tmp_path / "out" / "report.html").read_text()
    assert "form 12" in page and "a face on 75.0" in page
    assert "a.mp4" in capsys.readouterr().out


def test_without_a_note_on_consent_the_law_is_told_once(tiny, clip, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["run", str(tiny.path), str(clip), "-o", str(tmp_path / "out"), "--detector", "none"])
    assert capsys.readouterr().err.count("In the EU") == 1


def test_live_lines_say_what_the_table_says_with_causal_smoothing(tiny, clip, tmp_path, capsys):
    boxes = str(clip.with_name("boxes.csv"))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tiny.path), str(clip), "-o", str(tmp_path / "out"), "--boxes", boxes, "--live", "--causal"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 0
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = {row["frame"]: row for row in csv.DictReader(file)}
    assert [line["frame"] for line in lines] == [*range(2, 8), *range(10, 20)]
    for line in lines:
        row = rows[str(line["frame"])]
        told = {key: value for key, value in line.items() if key.startswith(("p_", "smooth_", "AU", "valence"))}
        assert len(told) == 9 + 9 - 1
        assert told == pytest.approx({key: float(row[key]) for key in told}, rel=1e-5, abs=1e-6)
        assert line["expression"] in ("angry", "happy", "neutral", "sad")


def test_uneven_times_reach_the_tables(tiny, tmp_path):
    write_gif(tmp_path / "a.gif", [100, 300, 50, 500])
    found = run(tiny, [tmp_path / "a.gif"], options=RunOptions(detector="none"))
    times = [float(row["time_s"]) for row in rows_of(tiny, found)]
    np.testing.assert_allclose(times, [0, 0.1, 0.4, 0.45], atol=0.011)


def test_pictures_of_a_folder_are_frames(tiny, tmp_path):
    for index, face in enumerate(faces(3)):
        cv2.imwrite(str(tmp_path / f"{index}s.png"), face)
    found = run(tiny, [tmp_path], options=RunOptions(detector="none"))
    assert [row["time_s"] for row in rows_of(tiny, found)] == ["0", "1", "2"]


def test_names_that_spreadsheets_take_for_formulas_stay_text():
    table = csv_text(("source",), [("=1+1",), ("a.mp4",)])
    assert list(csv.reader(io.StringIO(table))) == [["source"], ["'=1+1"], ["a.mp4"]]
