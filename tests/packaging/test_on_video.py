"""What a package says of video: data, words, and traces that stop at every level."""

import json
from importlib.resources import files

import jsonschema
import pytest

import edgefer
from edgefer.cli.main import main
from edgefer.errors import InputError
from edgefer.packaging.archive import read_archive
from tests.packaging.policies import LEVELS, write_policy


def network(bundle, format="tflite"):
    return next(each.sha256 for each in bundle.artifacts if (each.format, each.precision) == (format, "int8"))


def packed(bundle, folder, **options):
    made = edgefer.package(bundle, folder / "app.zip", **options)
    return read_archive(made.path.read_bytes(), "app.zip")


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_policy_is_packed_with_traces_that_stop_at_every_level(tiny, tmp_path, format):
    inside = packed(tiny, tmp_path, policy=write_policy(tmp_path / "p.json", network(tiny, format)))
    video = json.loads(inside["video.json"])
    assert video["levels"] == {
        "output": "expression",
        "window_s": LEVELS.window_s,
        "strides": list(LEVELS.strides),
        "thresholds": list(LEVELS.thresholds),
    }
    assert video["policy"]["outcomes"][0]["inferred"] == 0.2
    traces = json.loads(inside["golden/traces.json"])["traces"]
    for trace in traces:
        frames = trace["frames"]
        stopped = {max(level for _, level in frame["asked"]) for frame in frames if frame["asked"]}
        assert stopped == {1, 2, 3} or trace["name"] != "steady"
        asked = [frame for each in frames for frame, _ in each["asked"]]
        assert len(asked) == len(set(asked))
        assert all(frames[frame]["scores"] for frame in asked)
        assert 0.1 < len(asked) / sum(frame["scores"] is not None for frame in frames) < 0.9
    text = inside["PREPROCESSING.md"].decode()
    assert "on every 15th or every 5th or every frame" in text
    assert "on 20 % of the frames" in text


def test_without_a_policy_every_frame_is_asked_on(tiny, tmp_path):
    inside = packed(tiny, tmp_path)
    video = json.loads(inside["video.json"])
    assert (video["levels"]["strides"], video["levels"]["thresholds"], video["policy"]) == ([1], [0.0], None)
    assert [(output["back_s"], output["lag_s"]) for output in video["outputs"]] == [(3.4, 1.7), (3.4, 1.7), (0.2, 0.1)]
    for trace in json.loads(inside["golden/traces.json"])["traces"]:
        for index, frame in enumerate(trace["frames"]):
            assert frame["asked"] == ([[index, 1]] if frame["scores"] else [])


def test_traces_show_faces_out_of_sight(tiny, tmp_path):
    traces = json.loads(packed(tiny, tmp_path)["golden/traces.json"])["traces"]
    (hidden,) = (trace["frames"] for trace in traces if trace["name"] == "out of sight")
    missing = [index for index, frame in enumerate(hidden) if frame["scores"] is None]
    unknown = [index for index, frame in enumerate(hidden) if frame["smooth"] is None]
    assert set(unknown) < set(missing)
    assert {*range(60, 72)}.isdisjoint(unknown), "held through a short gap"
    assert {*range(117, 126)} <= set(unknown)
    assert hidden[126]["smooth"] == hidden[126]["scores"], "it begins anew"


@pytest.mark.parametrize("file", ["video", "traces"])
def test_both_files_keep_their_schema(tiny, tmp_path, file):
    schema = json.loads((files("edgefer") / "schemas" / f"{file}-1.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    path = {"video": "video.json", "traces": "golden/traces.json"}[file]
    for options in ({}, {"policy": write_policy(tmp_path / "p.json", network(tiny))}):
        jsonschema.validate(json.loads(packed(tiny, tmp_path, **options)[path]), schema)


def test_a_policy_of_another_network_is_refused(tiny, tmp_path, capsys):
    other = write_policy(tmp_path / "p.json", "0" * 64)
    with pytest.raises(InputError, match="calibrated with another network"):
        edgefer.package(tiny, tmp_path / "app.zip", policy=other)
    with pytest.raises(SystemExit) as exit:
        main(["package", str(tiny.path), "-o", str(tmp_path / "app.zip"), "--policy", str(other)])
    assert exit.value.code == 3
    assert "p.json" in capsys.readouterr().err
    assert not (tmp_path / "app.zip").exists()
