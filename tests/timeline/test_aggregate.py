import csv
import json

import numpy as np
import pytest

from edgefer.cli.main import main
from edgefer.errors import EvidenceError, InputError
from edgefer.timeline.aggregate import aggregate, wilson

HEADER = "source,frame,time_s,face,status,smooth_p_happy,smooth_valence"


def write_run(folder, viewers):
    """What `edgefer run` writes, of viewers as functions of time that return a score, or None for no face."""
    folder.mkdir()
    lines = [HEADER]
    for name, score in viewers.items():
        for frame in range(101):
            value = score(frame / 10)
            known = f"1,measured,{value:.6g},{value - 0.5:.6g}" if value is not None else ",no_face,,"
            lines.append(f"{name},{frame},{frame / 10:g},{known}")
    (folder / "frames.csv").write_text("\n".join(lines) + "\n")
    return folder


def smiling(begin, end, strength=0.9):
    return lambda time: strength if begin <= time < end else 0.1


@pytest.fixture
def audience(tmp_path):
    """Seven viewers who smile from second 4 to 6, one who does so from 8 on, and one who is hardly seen."""
    viewers = {f"v{index}.mp4": smiling(4, 6, 0.7 + index / 50) for index in range(7)}
    viewers["late.mp4"] = smiling(8, 10)
    viewers["hidden.mp4"] = lambda time: 0.9 if time < 5 else None
    return write_run(tmp_path / "run", viewers)


def test_means_and_shares_are_those_of_the_viewers(audience):
    found = aggregate([audience])
    happy = next(curve for curve in found.curves if curve.score == "happy")
    at = {round(float(time), 1): index for index, time in enumerate(found.times)}
    assert len(found.counted) == 8
    assert happy.mean[at[5.1]] == pytest.approx((sum(0.7 + index / 50 for index in range(7)) + 0.1) / 8, abs=1e-6)
    assert happy.share[at[5.1]] == 7 / 8 and happy.share[at[9.1]] == 1 / 8
    assert (happy.share_low[at[5.1]], happy.share_high[at[5.1]]) == pytest.approx(wilson(7, 8))
    assert happy.low[at[5.1]] < happy.mean[at[5.1]] < happy.high[at[5.1]]
    assert next(peak for peak in found.peaks if peak.score == "happy").time_s == pytest.approx(4.1, abs=0.11)


def test_who_is_left_out_is_told_and_why(audience):
    found = aggregate([audience])
    ((name, reason),) = found.left_out
    assert name == "run/hidden.mp4"
    assert reason == "known for 50 % of the time, and 70 % are needed"


def test_moments_of_too_few_viewers_are_not_shown(tmp_path):
    viewers = {
        f"v{index}.mp4": (lambda time: 0.5 if time < 8 else None) if index else smiling(0, 10) for index in range(6)
    }
    found = aggregate([write_run(tmp_path / "run", viewers)])
    assert found.viewers[-1] == 1
    assert np.isnan(found.curves[0].mean[-5:]).all() and not np.isnan(found.curves[0].mean[:35]).any()


def test_parts_follow_markers(audience, tmp_path):
    (tmp_path / "scenes.csv").write_text("name,start_s,end_s\nopening,0,4\njoke,4,6\n")
    opening, joke = aggregate([audience], markers=tmp_path / "scenes.csv").parts
    assert (opening.name, opening.viewers) == ("opening", 8)
    happy = {part.name: next(each.mean for each in part.scores if each.score == "happy") for part in (opening, joke)}
    assert happy["opening"] == pytest.approx(0.1) and happy["joke"] > 0.6


def test_with_few_viewers_nothing_is_told(tmp_path):
    run = write_run(tmp_path / "run", {f"v{index}.mp4": smiling(4, 6) for index in range(4)})
    with pytest.raises(EvidenceError, match="4 of 4 viewers count"):
        aggregate([run])


def test_viewers_of_several_runs_belong_together(tmp_path):
    runs = [write_run(tmp_path / day, {f"v{index}.mp4": smiling(4, 6) for index in range(3)}) for day in ("mo", "tu")]
    assert len(aggregate(runs).counted) == 6


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", HEADER + "\n", HEADER + "\na,0,soon,1,measured,0.5,0\n"])
def test_what_is_no_run_is_refused(tmp_path, content):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "frames.csv").write_text(content)
    with pytest.raises(InputError, match=r"frames\.csv"):
        aggregate([tmp_path / "run"])


def test_the_command_writes_tables_and_a_page(audience, tmp_path, capsys):
    (tmp_path / "scenes.csv").write_text("name,start_s,end_s\njoke,4,6\n")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "aggregate",
                str(audience),
                "-o",
                str(out),
                "--markers",
                str(tmp_path / "scenes.csv"),
                "--title",
                "<Spring>",
            ]
        )
    assert ended.value.code == 0
    assert sorted(file.name for file in out.iterdir()) == ["aggregate.json", "curves.csv", "parts.csv", "report.html"]
    assert json.loads((out / "aggregate.json").read_text())["counted"] == 8
    rows = list(csv.DictReader((out / "curves.csv").open()))
    assert {row["score"] for row in rows} == {"happy", "valence"}
    page = (out / "report.html").read_text()
    assert "&lt;Spring&gt;" in page and "<Spring>" not in page and "joke" in page
    assert "8 viewers counted, 1 left out" in capsys.readouterr().out
