"""Outputs of all models over a set of images, a shard at a time.

A shard is a range of images; what the models say about it depends on nothing else, so shards may be computed
anywhere and in any order, and are merged by concatenation.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.evaluation.results import Outputs
from edgefer.execution import Executor, Job, Store, execute
from edgefer.execution.task import Perform
from edgefer.host.progress import Advance, Progress
from edgefer.images import ImageSet, starts
from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import open_runner
from edgefer.spec import Spec

SHARD = 128
"""Images per shard, at least: what an interruption costs at most, per worker."""
LARGEST_SHARD = 2_000

_SHARDS = 512  # of a set that is large enough for so many: more would cost more to hand out than they balance

Shard: TypeAlias = Mapping[str, Mapping[str, npt.NDArray[np.float32]]]
"""By model and head: (images, columns)."""


@dataclass(frozen=True)
class RunModels:
    """The task: every model on every image of a shard; each image is decoded and resized once.

    Attributes:
        files: `.onnx` and `.tflite` files by name of the model.
        spec: of the network.
    """

    files: Mapping[str, Path]
    spec: Spec

    def open(self, files: Mapping[str, Path]) -> Perform:
        """See `Task`; runtimes have one thread.

        Raises:
            InputError: a runtime refuses a model.
        """
        runners = {m: open_runner(files[m], path.suffix[1:], 1, self.spec) for m, path in self.files.items()}
        heads = {head.name: len(head.labels) for head in self.spec.outputs}

        def perform(images: ImageSet, advance: Advance) -> bytes:
            shard = {
                model: {name: np.empty((len(images), columns), np.float32) for name, columns in heads.items()}
                for model in runners
            }
            begins = set(starts(images))
            for row in range(len(images)):
                if row in begins:
                    for runner in runners.values():
                        runner.reset()
                pixels = to_pixels(images.read(row), self.spec.input)
                for model, runner in runners.items():
                    for name, values in runner(pixels).items():
                        shard[model][name][row] = values
                advance()
            return _to_bytes(shard)

        return perform


def run_models(
    models: Mapping[str, Path], images: ImageSet, spec: Spec, store: Store, executor: Executor, progress: Progress
) -> Outputs:
    """What every model says about every image.

    Args:
        models: `.onnx` and `.tflite` files by name.
        images: what to run on.
        spec: of the network.
        store: where finished shards are kept.
        executor: who runs them.
        progress: told of every image.

    Raises:
        InputError: a runtime refuses a model, or the images changed while in use.
        EvidenceError: the executor is gone.
    """
    size = min(max(SHARD, len(images) // _SHARDS), LARGEST_SHARD)
    parts = _parts(starts(images) if spec.states else range(len(images)), len(images), size)
    shards: list[Shard | None] = [None] * len(parts)
    jobs = [_job(images, part) for part in parts]
    for place, outcome in execute(RunModels(models, spec), jobs, executor, store, progress, "run", "images"):
        if isinstance(outcome, InputError):
            raise outcome
        shards[place] = _from_bytes(outcome, list(models), spec)
    return Outputs(images.names, _merged([shard for shard in shards if shard is not None]))


def _parts(starts: Iterable[int], count: int, size: int) -> list[range]:
    """Ranges of at least so many images, but the last, that begin where a shard may begin."""
    begins = [0]
    for start in starts:
        if start - begins[-1] >= size:
            begins.append(start)
    return [range(*part) for part in pairwise([*begins, count])]


def _job(images: ImageSet, part: range) -> Job:
    digest = sha256("\n".join(images.digests[part.start : part.stop]).encode())
    name = f"images {part.start:,} to {part.stop - 1:,}"
    return Job(digest.hexdigest(), lambda carried: images.sent(part, carried=carried), len(part), name)


def _to_bytes(shard: Shard) -> bytes:
    arrays = {
        f"{row}-{column}": values
        for row, heads in enumerate(shard.values())
        for column, values in enumerate(heads.values())
    }
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _from_bytes(data: bytes, models: Sequence[str], spec: Spec) -> Shard:
    with np.load(io.BytesIO(data), allow_pickle=False) as entry:
        return {
            model: {head.name: entry[f"{row}-{column}"] for column, head in enumerate(spec.outputs)}
            for row, model in enumerate(models)
        }


def _merged(shards: Sequence[Shard]) -> Shard:
    return {
        model: {name: np.concatenate([shard[model][name] for shard in shards]) for name in heads}
        for model, heads in shards[0].items()
    }
