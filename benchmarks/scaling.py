"""How evaluation gets faster with more workers: measured with one and two, simulated from what was recorded to 256.

    python benchmarks/scaling.py

needs ../shared and the extra `cluster`; takes a few minutes.  Exit code 1 where the bound does not hold.
"""

from __future__ import annotations

import argparse
import heapq
import io
import os
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from measured import signed

import edgefer
from edgefer.bundle import Bundle
from edgefer.evaluation.judge import judge
from edgefer.evaluation.results import Outputs
from edgefer.evaluation.shards import LARGEST_SHARD, RunModels
from edgefer.evaluation.targets import find_targets
from edgefer.execution import Executor, Job, Store, execute
from edgefer.execution.cluster import cluster
from edgefer.execution.task import Perform
from edgefer.host.progress import SILENT, Advance
from edgefer.images import ImageSet, open_images

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
FACES = SHARED / "data" / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "scaling.md"
IMAGES = 3_000_000
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BOUND, AT = 0.85, 64
PART = 128
ROUNDS = 3
EMPTY_PARTS = 200
OPENED = 20_000
JUDGED = 200_000
NETWORK_BYTES_S = 125_000_000  # one gigabit per second: what files are sent to workers with, one after the other


@dataclass(frozen=True)
class Costs:
    """What was measured, in seconds.

    Attributes:
        parts: of parts of `PART` images, each.
        coordination: of handing a part of `LARGEST_SHARD` images out and taking its result back.
        admission: of taking on a worker.
        opening: of an image, when a tar is opened that was opened before.
        judging: of an image, after all outputs are there.
    """

    parts: Sequence[float]
    coordination: float
    admission: float
    opening: float
    judging: float


@dataclass(frozen=True)
class Nothing:
    """A task that does nothing, and answers with as many bytes as a part does."""

    answer: int
    files: Mapping[str, Path] = field(default_factory=dict)

    def open(self, files: Mapping[str, Path]) -> Perform:
        """See `Task`."""

        def perform(item: bytes, advance: Advance) -> bytes:
            return bytes(self.answer)

        return perform


def main() -> int:
    """Measure, simulate, write the table, and return 1 if the bound does not hold."""
    parser = argparse.ArgumentParser(description="Scale the evaluation of fer_b0 from 1 to 256 workers.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as scratch:
        folder = Path(scratch)
        os.environ["EDGEFER_HOME"] = str(folder / "home")
        bundle = edgefer.convert(
            SHARED / "models" / "fer_b0.onnx",
            folder / "fer_b0_bundle",
            calibration=SHARED / "data" / "fer2013_calibration.npz",
        )
        images = open_images(FACES)
        task = RunModels({a.file: bundle.path / a.file for a in bundle.artifacts}, bundle.spec)
        parts, answer = recorded(task, images)
        files = sum(path.stat().st_size for path in task.files.values())
        rounds = [tuple(on_cluster(task, images, count) for count in (1, 2)) for _ in range(ROUNDS)]
        shards = tar_of(folder / "set.tar")
        coordination, admission = coordinated(shards, answer * LARGEST_SHARD // PART)
        opening, again = opened(folder / "set.tar")
        costs = Costs(parts, coordination, admission + files / NETWORK_BYTES_S, again, judged(bundle, images))
    simulated = {factor: [simulate(costs, count, factor) for count in WORKERS] for factor in (1, 10)}
    alone = [sorted(seconds)[ROUNDS // 2] for seconds in zip(*rounds, strict=True)]
    lines = render(costs, rounds, alone, simulated, opening, load)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(signed("\n".join(lines), "evaluation", "execution"), "utf-8")
    print(options.output.read_text("utf-8"))
    return 0 if efficiency(simulated[1])[WORKERS.index(AT)] >= BOUND else 1


def recorded(task: RunModels, images: ImageSet) -> tuple[list[float], int]:
    """Seconds of each part in one thread, and the bytes of a result."""
    perform = task.open(task.files)
    seconds, size = [], 0
    for start in range(0, len(images) - PART + 1, PART):
        part = images.sent(range(start, start + PART), carried=False)
        begun = time.perf_counter()
        size = len(perform(part, lambda: None))
        seconds.append(time.perf_counter() - begun)
    return seconds[1:], size  # the first warms up


def on_cluster(task: RunModels, images: ImageSet, workers: int) -> float:
    """Seconds of all images on so many workers, which have done a part each before."""
    jobs = [
        Job(f"{start}", lambda carried, start=start: images.sent(range(start, start + PART), carried=carried), PART, "")
        for start in range(0, len(images) - PART + 1, PART)
    ]
    with cluster(f"local:{workers}") as found, tempfile.TemporaryDirectory() as folder:
        through(task, jobs[: 2 * workers], found, Path(folder) / "warm")
        begun = time.perf_counter()
        through(task, jobs, found, Path(folder) / "timed")
        return time.perf_counter() - begun


def through(task: RunModels | Nothing, jobs: Sequence[Job], workers: Executor, folder: Path) -> None:
    """Do them all."""
    for _ in execute(task, jobs, workers, Store(folder), SILENT, "run", "images"):
        pass


def coordinated(shards: ImageSet, answer: int) -> tuple[float, float]:
    """Seconds that a part takes which is no work, and that a worker takes to be taken on."""
    jobs = [
        Job(f"{n}", lambda carried: shards.sent(range(LARGEST_SHARD), carried=carried), 1, "")
        for n in range(EMPTY_PARTS)
    ]
    with cluster("local:2") as found, tempfile.TemporaryDirectory() as folder:
        through(Nothing(answer), jobs[:4], found, Path(folder) / "warm")
        begun = time.perf_counter()
        through(Nothing(answer), jobs[:1], found, Path(folder) / "one")
        admission = time.perf_counter() - begun
        begun = time.perf_counter()
        through(Nothing(answer), jobs, found, Path(folder) / "all")
        return (time.perf_counter() - begun - admission) / EMPTY_PARTS, admission / 2


def tar_of(path: Path) -> ImageSet:
    """A set of faces in a tar, with labels."""
    rng = np.random.default_rng(0)
    face = cv2.imencode(".jpg", rng.integers(0, 256, (48, 48), np.uint8))[1].tobytes()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(OPENED):
            for suffix, content in ((".jpg", face), (".cls", (b"happy", b"sad")[index % 2])):
                info = tarfile.TarInfo(f"{index:07d}{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    os.environ["EDGEFER_HOME"] += "-first"
    return open_images(path)


def opened(path: Path) -> tuple[float, float]:
    """Seconds for each image of a tar when it is opened for the first time, and again."""
    os.environ["EDGEFER_HOME"] += "-anew"
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        open_images(path)
        seconds.append((time.perf_counter() - begun) / OPENED)
    return seconds[0], seconds[1]


def judged(bundle: Bundle, images: ImageSet) -> float:
    """Seconds for each image of judging outputs."""
    rng = np.random.default_rng(0)
    many = images.select(rng.integers(0, len(images), JUDGED))
    head = bundle.spec.outputs[0]
    values = rng.dirichlet(np.ones(len(head.labels)), JUDGED).astype(np.float32)
    noisy = values + rng.normal(0, 0.01, values.shape).astype(np.float32)
    outputs = Outputs(
        many.names, {"reference": {head.name: values}, "tflite": {head.name: noisy}, "onnx": {head.name: noisy}}
    )
    begun = time.perf_counter()
    judge(outputs, find_targets(many, bundle.spec, None), bundle.spec)
    return (time.perf_counter() - begun) / JUDGED


def simulate(costs: Costs, workers: int, factor: int) -> tuple[float, float]:
    """Seconds of the run stage, and of the whole command, on so many workers.

    Args:
        costs: what was recorded; parts of `LARGEST_SHARD` images take as long as so many recorded images, drawn anew.
        workers: each has a part at work and one ahead, and is taken on one after the other.
        factor: how many times as long an image takes, as of a larger network.
    """
    rng = np.random.default_rng(0)
    drawn = rng.choice(costs.parts, (IMAGES // LARGEST_SHARD, LARGEST_SHARD // PART))
    lengths = deque(factor * LARGEST_SHARD / PART * drawn.mean(axis=1))
    coordinator = workers * costs.admission  # when it is free again
    queues: list[deque[float]] = [deque() for _ in range(workers)]  # of each worker: when its parts came
    for turn in range(min(2 * workers, len(lengths))):
        coordinator += costs.coordination / 2
        queues[turn % workers].append(coordinator)
    busy = [(queues[worker].popleft() + lengths.popleft(), worker) for worker in range(workers) if queues[worker]]
    heapq.heapify(busy)
    handed = sum(map(len, queues))  # parts that are ahead; the others wait here
    end = 0.0
    while busy:
        now, worker = heapq.heappop(busy)
        coordinator = max(coordinator, now) + costs.coordination / 2
        end = max(end, coordinator)
        if len(lengths) > handed:
            coordinator += costs.coordination / 2
            queues[worker].append(coordinator)
            handed += 1
        if queues[worker]:
            handed -= 1
            heapq.heappush(busy, (max(now, queues[worker].popleft()) + lengths.popleft(), worker))
    return end, end + IMAGES * (costs.opening + costs.judging)


def efficiency(simulated: Sequence[tuple[float, float]], stage: int = 0) -> list[float]:
    """Of each number of workers: the time of one, divided by their number and their time."""
    return [simulated[0][stage] / count / seconds[stage] for count, seconds in zip(WORKERS, simulated, strict=True)]


def render(
    costs: Costs,
    rounds: Sequence[tuple[float, ...]],
    alone: Sequence[float],
    simulated: Mapping[int, Sequence[tuple[float, float]]],
    opening: float,
    load: float,
) -> Iterator[str]:
    """The tables."""
    yield "# Evaluation on more workers"
    yield ""
    yield f"## Measured: fer_b0 on {len(costs.parts) + 1} parts of {PART} images, Dask workers of one thread, two cores"
    yield ""
    yield "| round | one worker, s | two, s | efficiency |"
    yield "|---:|---:|---:|---:|"
    for number, (one, two) in enumerate(rounds, 1):
        yield f"| {number} | {one:.1f} | {two:.1f} | {one / two / 2:.2f} |"
    yield ""
    yield f"Others' load on the two cores when it began: {load:.1f} (at rest: 0)."
    yield ""
    yield f"Of the medians: **{alone[0] / alone[1] / 2:.2f}**."
    yield ""
    yield f"## Simulated: {IMAGES:,} images in parts of {LARGEST_SHARD:,}"
    yield ""
    image = sum(costs.parts) / len(costs.parts) / PART
    yield f"From what was recorded on this machine, in parts of {PART} images drawn anew from {len(costs.parts)}:"
    yield ""
    yield "| what | takes |"
    yield "|---|---:|"
    yield f"| an image, three models | {1e3 * image:.2f} ms |"
    yield f"| handing a part out and taking its result back, in one place | {1e3 * costs.coordination:.1f} ms |"
    yield f"| taking a worker on, its models sent at one gigabit per second | {costs.admission:.2f} s |"
    yield f"| opening tar shards the first time, for each image | {1e6 * opening:.0f} us |"
    yield f"| opening them again, for each image | {1e6 * costs.opening:.0f} us |"
    yield f"| judging, for each image | {1e6 * costs.judging:.0f} us |"
    yield ""
    yield "The whole command opens again, runs and judges.  Whether storage keeps up is not simulated."
    yield ""
    yield "| workers | run, s | efficiency | whole command | run, 10 times the network, s | efficiency | whole |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    columns = {factor: (efficiency(each), efficiency(each, 1)) for factor, each in simulated.items()}
    for row, count in enumerate(WORKERS):
        cells = (
            f"{simulated[factor][row][0]:,.0f} | {run[row]:.2f} | {whole[row]:.2f}"
            for factor, (run, whole) in columns.items()
        )
        yield f"| {count} | {' | '.join(cells)} |"
    yield ""
    reached = columns[1][0][WORKERS.index(AT)]
    held = "held" if reached >= BOUND else "not held"
    yield f"At {AT} workers the run stage reaches **{reached:.2f}**; bound {BOUND}: {held}."
    yield ""
    serial = IMAGES * (costs.opening + costs.judging)
    kept = [count for count, value in zip(WORKERS, columns[1][0], strict=True) if value >= BOUND]
    asked = LARGEST_SHARD * image / costs.coordination
    yield (
        f"**Where it ends.** The run stage keeps {BOUND} to {max(kept)} workers. At {WORKERS[-1]} a worker has "
        f"{IMAGES / LARGEST_SHARD / WORKERS[-1]:.1f} parts, so some wait for those that have one more; taking workers "
        f"on costs {WORKERS[-1] * costs.admission:.0f} s there, and one machine keeps up with {asked:,.0f} workers at "
        f"most. The whole command ends earlier: opening and judging take {serial:,.0f} s on the machine that asks, "
        f"however many workers there are, and weigh less the larger the network is."
    )
    yield ""


if __name__ == "__main__":
    sys.exit(main())
