"""`evaluate`: float reference, TFLite and ONNX over the same images, in one pass."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.bundle import SUMS, Artifact, Bundle
from edgefer.errors import InputError
from edgefer.evaluation.heads import chooses_class
from edgefer.evaluation.judge import judge, judge_bounds
from edgefer.evaluation.layers import view_layers
from edgefer.evaluation.results import REFERENCE, BundleIdentity, DataIdentity, Evaluation, LayerView, Outputs
from edgefer.evaluation.shards import run_models
from edgefer.evaluation.targets import Targets, find_targets
from edgefer.execution import Executor, Store, executor
from edgefer.host.progress import SILENT, Progress
from edgefer.images import ImageSet, in_sequences, open_images, sample
from edgefer.spec import Spec

MAX_DROP = 0.5
"""Percentage points of accuracy that an artifact may lose, where nobody says otherwise."""
LAYER_IMAGES = 4

_VERSION = 1  # of what a stored shard holds
_TOOLS = ("edgefer", "ai-edge-litert", "numpy", "onnxruntime")


def evaluate(
    bundle: Bundle | str | Path,
    data: ImageSet | str | Path,
    *,
    targets: str | Path | None = None,
    max_drop: float | None = None,
    samples: int | None = None,
    workers: Executor | int | None = None,
    layer_images: int = LAYER_IMAGES,
    progress: Progress = SILENT,
    save: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Evaluation:
    """How far a bundle's artifacts are from the float network, and from each other.

    An evaluation that is interrupted goes on where it stopped when it is started again.

    Args:
        bundle: an opened bundle, or its directory.
        data: a folder or zip of images, an `.npz` file, or an opened set, in sequences where the
            network looks at those; labels are used where there are any.
        targets: a CSV file with a column `file` and columns named like labels of the network.
        max_drop: percentage points of accuracy that an artifact may lose; the bundle's own bound, or 0.5.
        samples: evaluate on so many images, spread evenly over the set; on all of them when None.
        workers: so many threads, one per processor when None; or whoever else runs the models.
        layer_images: images for the view of the layers, the first ones; none when 0.
        progress: who is told.
        save: takes what is found; where it fails, as on a full disk, the same call goes on from what was done.

    Raises:
        InputError: bundle or data cannot be read, were altered, or do not fit together.
        EvidenceError: the workers are gone; what was done until then is kept.
    """
    with progress.stage("read"):
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
        images = data if isinstance(data, ImageSet) else in_sequences(open_images(Path(data)), bundle.spec)
        images = sample(images, samples, bundle.spec)
        truth = find_targets(images, bundle.spec, Path(targets) if targets is not None else None)
    for line in (*images.skipped_lines(), *images.passed_over_lines(), *truth.lines()):
        progress.note(line)
    models = {REFERENCE if a.is_reference else a.format: a for a in bundle.artifacts}
    models = {REFERENCE: models.pop(REFERENCE), **models}
    store = Store.of(_key(models, bundle, images))
    paths = {name: bundle.path / artifact.file for name, artifact in models.items()}
    with ThreadPoolExecutor(1) as beside:
        few = images.select(range(min(layer_images, len(images))))
        view = beside.submit(view_layers, bundle, few) if few else None
        outputs = _told(run_models(paths, images, bundle.spec, store, executor(workers), progress), models, bundle.spec)
        layers = _result(view, progress)
    with progress.stage("judge"):
        parts = judge(outputs, truth, bundle.spec)
        bound = bundle.manifest.get("max_drop", MAX_DROP) if max_drop is None else max_drop
        evaluation = Evaluation(
            bundle=_identity(bundle, models),
            data=DataIdentity(
                images.source,
                images.sha256,
                len(images.skipped),
                truth.unmatched_classes,
                truth.left_out,
                truth.missing_classes,
                (*images.passed_over_lines(), *truth.notes),
                truth.sequences,
            ),
            parts=parts,
            verdict=judge_bounds(parts[0], bundle, bound),
            layers=layers,
            outputs=outputs,
            labels=truth.heads[parts[0].main.name].classes,
            versions={tool: version(tool) for tool in _TOOLS} | {"machine": platform.machine()},
            targets=_known(truth),
        )
    save(evaluation)
    store.clear()
    return evaluation


def _told(outputs: Outputs, models: Mapping[str, Artifact], spec: Spec) -> Outputs:
    """The outputs, in which the lowest integer that an artifact returns counts as a quarter of a step more.

    It stands for all that is below half a step: probabilities of 0, of which there would be no logarithm.
    """
    values = {model: dict(heads) for model, heads in outputs.values.items()}
    for model, artifact in models.items():
        for head in spec.outputs:
            if head.name in artifact.io and (chooses_class(head) or head.activation != "none"):
                end = artifact.io[head.name]
                lowest = end["scale"] * (np.iinfo(end["dtype"]).min - end["zero_point"] + 0.25)
                values[model][head.name] = np.maximum(values[model][head.name], np.float32(lowest))
    return replace(outputs, values=values)


def _result(view: Future[LayerView] | None, progress: Progress) -> LayerView | None:
    try:
        return None if view is None else view.result()
    except InputError as error:
        progress.note(f"no view of the layers: {error.message}")
        return None


def _known(truth: Targets) -> dict[str, npt.NDArray[Any]]:
    """By head, its classes or its values, where the data has either."""
    either = {name: head.values if head.classes is None else head.classes for name, head in truth.heads.items()}
    return {name: values for name, values in either.items() if values is not None}


def _key(models: Mapping[str, Artifact], bundle: Bundle, images: ImageSet) -> str:
    """What the outputs depend on."""
    digest = sha256(repr((_VERSION, bundle.spec, images.sha256, platform.machine())).encode())
    for name, artifact in models.items():
        digest.update(f"{name} {artifact.sha256}\n".encode())
    for tool in _TOOLS:
        digest.update(f"{tool} {version(tool)}\n".encode())
    return digest.hexdigest()


def _identity(bundle: Bundle, models: Mapping[str, Artifact]) -> BundleIdentity:
    artifacts = {name: {"file": a.file, "bytes": a.bytes, "sha256": a.sha256} for name, a in models.items()}
    digest = sha256((bundle.path / SUMS).read_bytes()).hexdigest()
    return BundleIdentity(bundle.name, str(bundle.manifest["edgefer_version"]), digest, artifacts)
