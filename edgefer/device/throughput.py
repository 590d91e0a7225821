"""Frames per second as people deploy: one stream, and interpreters side by side until a board gives no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeAlias

from edgefer.device.latency import NANOSECONDS
from edgefer.device.session import Listener, Session
from edgefer.device.verdict import is_throttled

SIDE_BY_SIDE = 4
"""Interpreters of which time and memory are told on every board."""
GROWS = 1.05
"""Times the frames per second, from which on they count as more."""
PART = 8
"""Of the frames and seconds of a benchmark, what each combination gets."""
_THREADS = (2, 4)


@dataclass(frozen=True)
class Streams:
    """Interpreters side by side in one process, each given frames as fast as it takes them.

    Attributes:
        batch: images that each takes at once.
        threads: of each interpreter.
        instances: interpreters.
        frames: of all together.
        duration_s: that they took.
        p50: half of the batches were answered in that time, ms.
        p90: nine in ten.
        p99: ninety-nine in a hundred.
        peak_rss_bytes: of the process.
        conditions: temperature, clock, governor and throttling flags at the end.
    """

    batch: int
    threads: int
    instances: int
    frames: int
    duration_s: float
    p50: float
    p90: float
    p99: float
    peak_rss_bytes: int
    conditions: Mapping[str, Any]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.duration_s

    @property
    def is_throttled(self) -> bool:
        """Whether the firmware said at the end that it slows the board down."""
        return is_throttled(self.conditions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "batch": self.batch,
            "threads": self.threads,
            "instances": self.instances,
            "frames": self.frames,
            "duration_s": self.duration_s,
            "fps": self.fps,
            "latency_ms": {"p50": self.p50, "p90": self.p90, "p99": self.p99},
            "peak_rss_bytes": self.peak_rss_bytes,
            "conditions": dict(self.conditions),
        }


@dataclass(frozen=True)
class Throughput:
    """What was tried of one artifact on a device; one stream of single frames first."""

    tried: tuple[Streams, ...]

    @property
    def saturating(self) -> Streams:
        """The fewest threads, then the smallest batch, with which frames per second no longer grow."""
        most = max(streams.fps for streams in self.tried)
        enough = (streams for streams in self.tried if GROWS * streams.fps >= most)
        return min(enough, key=lambda streams: (streams.threads * streams.instances, streams.batch, streams.p50))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = self.saturating
        chosen = {"batch": found.batch, "threads": found.threads, "instances": found.instances, "fps": found.fps}
        return {"streams": [streams.to_dict() for streams in self.tried], "saturating": chosen}


Try: TypeAlias = Callable[[int, int, int], Streams]
"""Measures a batch size, a number of threads and one of instances."""


def throughput(attempt: Try, cores: int, batches: Sequence[int]) -> Throughput:
    """Double the interpreters of one thread until that gains nothing; then fewer, of several threads.

    Args:
        attempt: measures one combination.
        cores: of the device.
        batches: sizes to try.
    """
    return Throughput(tuple(streams for batch in batches for streams in _of_batch(attempt, cores, batch)))


def _of_batch(attempt: Try, cores: int, batch: int) -> Iterator[Streams]:
    most, instances, grows = 0.0, 1, True
    while instances <= SIDE_BY_SIDE or (grows and instances <= 2 * cores):
        streams = attempt(batch, 1, instances)
        yield streams
        grows = streams.fps > GROWS * most
        most = max(most, streams.fps)
        instances *= 2
    for threads in _THREADS:
        if threads <= cores:
            yield attempt(batch, threads, cores // threads)


def most_attempts(cores: int, batches: Sequence[int]) -> int:
    """How many combinations `throughput` tries at most."""
    last = max(SIDE_BY_SIDE, 2 * cores)
    return len(batches) * (last.bit_length() + sum(threads <= cores for threads in _THREADS))


def measure_streams(
    session: Session,
    paths: Mapping[str, str],
    format: str,
    combination: tuple[int, int, int],
    frames: int,
    seconds: float,
    listener: Listener,
) -> Streams:
    """Run a batch size, a number of threads and one of instances on a board.

    Raises:
        DeviceError: the board failed.
        LookupError, TypeError, ValueError: its answer makes no sense.
    """
    batch, threads, instances = combination
    program = session.push(files("edgefer.device").joinpath("throughput_agent.py").read_bytes())
    reply = session.request(
        "run",
        listener=listener,
        paths={**paths, "program": program},
        format=format,
        batch=batch,
        threads=threads,
        instances=instances,
        frames=max(frames // PART, 1),
        seconds=seconds / PART,
        warmup=2,
    )
    return Streams(
        batch,
        threads,
        instances,
        int(reply["frames"]),
        reply["duration_ns"] / 1e9,
        reply["p50_ns"] * NANOSECONDS,
        reply["p90_ns"] * NANOSECONDS,
        reply["p99_ns"] * NANOSECONDS,
        int(reply["peak_rss_bytes"]),
        reply["conditions"],
    )
