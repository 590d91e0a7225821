"""`benchmark --pipeline`: a clip's frames through detector, crop, network and smoothing on a board, paced as a camera.

A few seconds of the clip are brought to the board as pixels, so that a board needs no more than it does to run an
artifact: numpy and LiteRT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import floor
from typing import Any

from edgefer.bundle import Bundle
from edgefer.device.latency import Latency
from edgefer.device.session import Listener, Session
from edgefer.faces.face import Face, overlap
from edgefer.spec import CropSpec

FPS = 30.0
FRAMES = 300
WARMUP = 5

_BACK_S = 3.4
_SAME_FACE = 0.5


@dataclass(frozen=True, eq=False)
class Clip:
    """What is brought to boards.

    Attributes:
        name: the file's.
        frames: uint8 (n, H, W, 3), as a `.npy` file.
        count: n.
        size: width and height.
        boxes: the largest face of each frame, as this machine finds it.
        detector: BlazeFace.
    """

    name: str
    frames: bytes
    count: int
    size: tuple[int, int]
    boxes: tuple[Face | None, ...]
    detector: bytes


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The whole way of frames on a board.

    Attributes:
        clip: name of the file.
        size: width and height of its frames, as they were brought.
        fps: of the camera that was imitated.
        stages: by name, what each took, of frames with a face; `detect` and `total` of all frames.
        late_frames: that the camera would not have waited for.
        same_faces: share of the frames brought on which the board finds the face where this machine does.
        runtime: `name`, `version` and `delegate`.
        peak_rss_bytes: of a process that does nothing else.
    """

    clip: str
    size: tuple[int, int]
    fps: float
    stages: Mapping[str, Latency]
    late_frames: int
    same_faces: float
    runtime: Mapping[str, str | None]
    peak_rss_bytes: int

    @property
    def holds_fps(self) -> float:
        """The frame rate whose period 99 of 100 frames stay under."""
        rate = 1000 / self.stages["total"].p99
        return float(floor(rate)) if rate >= 2 else round(rate, 2)

    @property
    def holds(self) -> bool:
        """Whether it holds the camera's frame rate: p99 under its period."""
        return self.stages["total"].p99 < 1000 / self.fps

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "clip": self.clip,
            "size": list(self.size),
            "fps": self.fps,
            "holds": self.holds,
            "holds_fps": self.holds_fps,
            "stages_ms": {name: latency.to_dict() for name, latency in self.stages.items()},
            "late_frames": self.late_frames,
            "same_faces": self.same_faces,
            "runtime": dict(self.runtime),
            "peak_rss_bytes": self.peak_rss_bytes,
        }


def measure_pipeline(
    session: Session, clip: Clip, bundle: Bundle, fps: float, frames: int, threads: int, listener: Listener
) -> Mapping[str, Any]:
    """Run it on a board; the agent's reply."""
    crop = bundle.spec.input.crop or CropSpec()
    contents = {
        "program": files("edgefer.device").joinpath("pipeline_agent.py").read_bytes(),
        "frames": clip.frames,
        "detector": clip.detector,
        "model": bundle.artifact("tflite").read_bytes(),
    }
    reply: Mapping[str, Any] = session.request(
        "measure",
        listener=listener,
        kind="program",
        paths={name: session.push(content) for name, content in contents.items()},
        threads=threads,
        frames=frames,
        warmup=WARMUP,
        fps=fps,
        margin=crop.margin,
        square=crop.square,
        back_s=_BACK_S,
    )
    return reply


def pipeline_of(clip: Clip, fps: float, reply: Mapping[str, Any]) -> Pipeline:
    """What a reply says.

    Raises:
        LookupError, TypeError, ValueError: it makes no sense.
    """
    stages = {name: Latency.of_nanoseconds(times) for name, times in reply["times_ns"].items() if times}
    same = [_is_same(here, there) for here, there in zip(clip.boxes, reply["boxes"], strict=False)]
    return Pipeline(
        clip.name,
        clip.size,
        fps,
        {name: stages[name] for name in ("detect", "crop", "infer", "smooth", "total")},
        int(reply["late_frames"]),
        sum(same) / len(same),
        reply["runtime"],
        int(reply["peak_rss_bytes"]),
    )


def _is_same(here: Face | None, there: Sequence[float] | None) -> bool:
    if here is None or there is None:
        return here is None and there is None
    x, y, width, height = map(float, there)
    return overlap(here, Face(x, y, width, height)) >= _SAME_FACE
