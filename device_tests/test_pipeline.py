"""`edgefer benchmark --pipeline` on boards: whole frames, and the faces that this machine finds."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgefer
from edgefer.device.results import Settings

CLIP = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips" / "eat.mkv"


def test_a_board_takes_frames_all_the_way(fer_b0, board):
    if not CLIP.is_file():
        pytest.skip(f"needs {CLIP}, which is not part of the repository")
    settings = Settings(frames=16, seconds=0.0, warmup=1, fps=2)
    found = edgefer.benchmark(fer_b0, [board.name], settings=settings, formats=["tflite"], pipeline=CLIP)
    measured = found.runs[0].pipeline
    assert measured.same_faces == 1.0
    assert len(measured.stages["total"].samples) == 16
    assert measured.stages["detect"].p50 + measured.stages["infer"].p50 < measured.stages["total"].p99
