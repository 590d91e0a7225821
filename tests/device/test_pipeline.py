"""Whole frames on a board: detect, crop, infer, smooth."""

import json
from importlib.resources import files

import cv2
import jsonschema
import numpy as np
import pytest

import edgefer
from edgefer.cli.benchmark import summary
from edgefer.device import pipeline_agent
from edgefer.device.clip import read_clip
from edgefer.device.results import Settings
from edgefer.errors import InputError
from edgefer.faces.crop import cut_out
from edgefer.faces.face import Face
from edgefer.host.detector_weights import kept_weights
from edgefer.images.preprocess import to_pixels
from edgefer.report import benchmark_report
from edgefer.spec import CropSpec, InputSpec
from tests.video.videos import write_video

FETCHED = kept_weights()  # of the user's own home, which tests do not touch


@pytest.fixture
def blazeface():
    """The detector, where it was fetched before."""
    if not FETCHED.is_file():
        pytest.skip("needs BlazeFace, which `edgefer doctor --install detector` fetches")
    kept_weights().parent.mkdir(parents=True)
    kept_weights().write_bytes(FETCHED.read_bytes())


def test_a_board_says_which_frame_rate_it_holds_and_finds_the_faces_that_the_host_finds(blazeface, shared, tiny, board):
    clip = shared / "data" / "clips" / "eat.mkv"
    settings = Settings(frames=40, seconds=0.0, warmup=1, fps=60)
    found = edgefer.benchmark(tiny, [board()], settings=settings, formats=["tflite"], pipeline=clip)
    measured = found.runs[0].pipeline
    assert (measured.clip, measured.size, measured.fps) == ("eat.mkv", (640, 480), 60)
    assert measured.same_faces >= 0.9
    assert {name: len(stage.samples) for name, stage in measured.stages.items()} == dict.fromkeys(
        pipeline_agent.STAGES, 40
    )
    parts = sum(stage.samples for name, stage in measured.stages.items() if name != "total")
    np.testing.assert_allclose(parts, measured.stages["total"].samples, atol=0.01)
    assert measured.holds == (measured.stages["total"].p99 < 1000 / 60)
    schema = json.loads(files("edgefer").joinpath("schemas", "benchmark-1.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(found.to_dict())), schema)
    assert "60 frames per second of 640x480" in summary(found)
    assert "60 frames per second of 640x480" in benchmark_report(tiny.manifest, found)


def test_a_clip_without_a_face_is_refused(blazeface, tmp_path):
    with pytest.raises(InputError, match="its first seconds show no face"):
        read_clip(write_video(tmp_path / "a.mp4", 6))


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("box", [(10.0, 12.0, 30.0, 40.0), (-8.0, -3.0, 40.0, 40.0), (70.0, 50.0, 40.0, 30.0)])
def test_the_board_cuts_as_the_host_does(box, square):
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    picture = cv2.resize(noise, (100, 80), interpolation=cv2.INTER_CUBIC)
    there = pipeline_agent.cut(picture, np.array(box), 0.1, square, (32, 32))
    here = to_pixels(cut_out(picture, Face(*box), CropSpec(0.1, square)), InputSpec((32, 32), (0.5,) * 3, (0.5,) * 3))
    assert np.abs(there.astype(int) - here).mean() < 8
