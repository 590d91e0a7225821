"""Outputs of all models over a set of images: a shard at a time, on all cores, going on where it stopped.

A shard is a range of images; what the models say about it depends on nothing else, so shards may be computed
anywhere and in any order, and are merged by concatenation.  Finished ones are kept until the evaluation is.
"""

from __future__ import annotations

import io
import shutil
import threading
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.evaluation.results import Outputs
from edgefer.host import cache
from edgefer.host.directories import cache_directory
from edgefer.host.progress import Advance, Progress
from edgefer.images import ImageSet
from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import Runner, open_runner
from edgefer.spec import Spec

SHARD = 128
"""Images per shard: what an interruption costs at most, per worker."""

Shard: TypeAlias = Mapping[str, Mapping[str, npt.NDArray[np.float32]]]
"""By model and head: (images, columns)."""


@dataclass(frozen=True)
class Store:
    """Finished shards of one evaluation, on disk; one that cannot be written or read is computed again."""

    folder: Path

    @classmethod
    def of(cls, key: str) -> Store:
        """The store of the evaluation whose models, images and versions `key` is a digest of."""
        return cls(cache_directory() / "evaluations" / key)

    def load(self, index: int, models: Sequence[str], spec: Spec, count: int) -> Shard | None:
        """Shard `index`, None when there is none of `count` images."""
        try:
            with np.load(self.folder / f"{index}.npz", allow_pickle=False) as entry:
                shard = {
                    model: {head.name: entry[f"{row}-{column}"] for column, head in enumerate(spec.outputs)}
                    for row, model in enumerate(models)
                }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        shapes = {head.name: (count, len(head.labels)) for head in spec.outputs}
        is_whole = all(values.shape == shapes[name] for heads in shard.values() for name, values in heads.items())
        return shard if is_whole else None

    def save(self, index: int, shard: Shard) -> None:
        """Keep a shard: all of it, or nothing."""
        arrays = {
            f"{row}-{column}": values
            for row, heads in enumerate(shard.values())
            for column, values in enumerate(heads.values())
        }
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        cache.store(self.folder / f"{index}.npz", file.getvalue())

    def clear(self) -> None:
        """Forget all shards."""
        shutil.rmtree(self.folder, ignore_errors=True)


def run_models(
    models: Mapping[str, Path], images: ImageSet, spec: Spec, store: Store, workers: int, progress: Progress
) -> Outputs:
    """What every model says about every image; each image is decoded and resized once.

    Args:
        models: `.onnx` and `.tflite` files by name.
        images: what to run on.
        spec: of the network.
        store: where finished shards are kept.
        workers: threads; each has its own runtimes, of one thread each.
        progress: told of every image.

    Raises:
        InputError: a runtime refuses a model, or the images changed while in use.
    """
    parts = [range(start, min(start + SHARD, len(images))) for start in range(0, len(images), SHARD)]
    shards = {index: store.load(index, list(models), spec, len(part)) for index, part in enumerate(parts)}
    missing = [index for index, shard in shards.items() if shard is None]
    if done := len(images) - sum(len(parts[index]) for index in missing):
        progress.note(f"{done:,} of {len(images):,} images were done before an interruption; going on from there")
    with progress.stage("run", len(images)) as advance:
        for _ in range(done):
            advance()
        worker = _Worker(models, images, spec, advance)

        def finish(index: int) -> None:
            shard = shards[index] = worker.run(parts[index])
            store.save(index, shard)

        pool = ThreadPoolExecutor(min(workers, len(missing)) or 1)
        try:
            for _ in pool.map(finish, missing):
                pass
        finally:
            worker.stopped.set()
            pool.shutdown(cancel_futures=True)
    return Outputs(images.names, _merged([shard for shard in shards.values() if shard is not None]))


class _Worker:
    """Runs shards on whatever thread asks, with runtimes that belong to that thread."""

    def __init__(self, models: Mapping[str, Path], images: ImageSet, spec: Spec, advance: Advance) -> None:
        self.stopped = threading.Event()
        self._models = models
        self._images = images
        self._spec = spec
        self._advance = advance
        self._lock = threading.Lock()
        self._own = threading.local()

    def run(self, part: range) -> Shard:
        heads = {head.name: len(head.labels) for head in self._spec.outputs}
        shard = {
            model: {name: np.empty((len(part), columns), np.float32) for name, columns in heads.items()}
            for model in self._models
        }
        for row, index in enumerate(part):
            if self.stopped.is_set():
                raise CancelledError
            pixels = to_pixels(self._images.read(index), self._spec.input)
            for model, runner in self._runners().items():
                for name, values in runner(pixels).items():
                    shard[model][name][row] = values
            with self._lock:
                self._advance()
        return shard

    def _runners(self) -> Mapping[str, Runner]:
        if not hasattr(self._own, "runners"):
            self._own.runners = {model: open_runner(path, path.suffix[1:]) for model, path in self._models.items()}
        runners: Mapping[str, Runner] = self._own.runners
        return runners


def _merged(shards: Sequence[Shard]) -> Shard:
    return {
        model: {name: np.concatenate([shard[model][name] for shard in shards]) for name in heads}
        for model, heads in shards[0].items()
    }
