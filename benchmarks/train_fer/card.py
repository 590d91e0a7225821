"""What a model card says of a checkpoint, measured as edgefer runs it, in Markdown.

    python -m benchmarks.train_fer.card CHECKPOINT

CHECKPOINT is one that `edgefer convert` takes.  Images are resized as edgefer resizes them, and the float network runs
in ONNX Runtime.  A classifier of 15 rows has two heads, FER2013's labels and FER+'s votes; one of 7 rows the first
alone.  Images that were held back from training are judged where the checkpoint says that there were some.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.train_fer.faces import DATA, LABELS, TRAIN, VOTED, split
from edgefer.checkpoint import read_checkpoint
from edgefer.emit.onnx import emit_onnx
from edgefer.errors import EdgeferError
from edgefer.evaluation.head_metrics import ClassMetrics, ModelMetrics, SoftMetrics
from edgefer.evaluation.metrics import Bools, Floats
from edgefer.evaluation.scores import score
from edgefer.evaluation.targets import HeadTargets, find_targets
from edgefer.graph.contract import apply_contract
from edgefer.graph.passes import normalise
from edgefer.images import ImageSet, open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.runtime.runners import open_runner
from edgefer.spec import OutputSpec, Spec

PUBLIC = DATA / "fer2013_public.npz"

EXPRESSION = OutputSpec("expression", "expression", LABELS, "softmax", columns=(0, len(LABELS)))
VOTES = OutputSpec("ferplus", "expression", VOTED, "softmax", columns=(len(LABELS), len(LABELS) + len(VOTED)))
"""The heads of what `benchmarks.train_fer` writes, side by side in one classifier."""

Judged: TypeAlias = Mapping[str, ModelMetrics]
"""Metrics of each head, by its name."""


@dataclass(frozen=True)
class Part:
    """Images that were judged.

    Attributes:
        title: of the row.
        images: how many.
        heads: how well each head does on them.
    """

    title: str
    images: int
    heads: Judged


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="file, or name of a bundled network")
    parser.add_argument("--public", type=Path, default=PUBLIC, help="labelled images that decided nothing")
    parser.add_argument("--train", type=Path, default=TRAIN, help="the file that was trained on, but for a part")
    parser.add_argument("--held-back", action="store_true", help="there is such a part, though CHECKPOINT is silent")
    arguments = parser.parse_args()
    try:
        network = with_heads(load_network(arguments.checkpoint))
        parts = measure(network, open_images(arguments.public), "FER2013 public test")
        if arguments.held_back or "held_back" in read_checkpoint(network.source.path).fields:
            images = open_images(arguments.train)
            _, held_back = split(len(images))
            parts += measure(network, images.select(held_back.tolist()), "held back from training; chose the epoch")
    except EdgeferError as error:
        sys.exit(str(error))
    print("\n".join(render(network, parts)))


def with_heads(network: Network) -> Network:
    """The network with both heads in its Spec where its classifier has both and the Spec does not say so."""
    rows = network.graph.info[network.graph.outputs[0]].shape[-1]
    if rows != len(LABELS) + len(VOTED) or len(network.spec.outputs) > 1:
        return network
    return replace(network, spec=replace(network.spec, outputs=(EXPRESSION, VOTES)))


def measure(network: Network, images: ImageSet, title: str) -> list[Part]:
    """Judge the network on all of the images, and on each subset that their file names."""
    values = _run(network, images)
    targets = find_targets(images, network.spec)
    subsets = {title: np.ones(len(images), np.bool_)}
    subsets |= {f"{title}, {name}": mask for name, mask in targets.subsets.items()}
    return [
        Part(title, int(chosen.sum()), _scores(network.spec, values, targets.heads, chosen))
        for title, chosen in subsets.items()
    ]


def _run(network: Network, images: ImageSet) -> dict[str, Floats]:
    """Probabilities of each head, (images, classes)."""
    graph = apply_contract(normalise(network.graph), network.spec)
    runner = open_runner(emit_onnx(graph, Plan()).SerializeToString(), "onnx")
    found = [runner(pixels) for pixels in iter_pixels(images, network.spec.input)]
    return {head.name: np.stack([heads[head.name] for heads in found]) for head in network.spec.outputs}


def _scores(spec: Spec, values: Mapping[str, Floats], targets: Mapping[str, HeadTargets], chosen: Bools) -> Judged:
    return {head.name: score(head, values[head.name][chosen], _of(targets[head.name], chosen)) for head in spec.outputs}


def _of(targets: HeadTargets, chosen: Bools) -> HeadTargets:
    fields = {name: array[chosen] for name, array in vars(targets).items() if array is not None}
    return HeadTargets(**fields)


def render(network: Network, parts: Sequence[Part]) -> Iterator[str]:
    """The tables, in Markdown."""
    source, (height, width) = network.source, network.spec.input.size
    yield f"`{source.path.name}`, {source.path.stat().st_size:,} bytes, SHA-256 `{source.sha256}`, {width}x{height}"
    yield ""
    yield "Against the labels of FER2013; the expected calibration error is over 15 bins of confidence:"
    yield ""
    yield from _table(("images", "count", "top-1, %", "macro-F1, %", "calibration error, %"), _accuracies(parts))
    yield ""
    yield "Recall per class, %:"
    yield ""
    yield from _table(("images", *_classes(parts[0]).recall_per_class), _recalls(parts))
    yield ""
    yield "Against the votes of FER+; a majority is a class of the head with more votes than anything else:"
    yield ""
    header = ("images", "head", "with a majority", "that class on top, %", "with votes", "KL from the votes, nats")
    yield from _table(header, _votes(parts))


def _accuracies(parts: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    for part in parts:
        found = _classes(part)
        shares = (found.accuracy, found.macro_f1, found.reliability.ece)
        yield part.title, f"{part.images:,}", *map(_percent, shares)


def _recalls(parts: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    for part in parts:
        yield part.title, *map(_percent, _classes(part).recall_per_class.values())


def _votes(parts: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    for part in parts:
        for name, metrics in part.heads.items():
            soft = metrics.soft
            if soft is not None:
                yield part.title, name, *_soft(soft)


def _soft(soft: SoftMetrics) -> tuple[str, ...]:
    return f"{soft.majority_samples:,}", _percent(soft.majority_accuracy), f"{soft.samples:,}", f"{soft.kl:.3f}"


def _classes(part: Part) -> ClassMetrics:
    found = part.heads[EXPRESSION.name].classes
    if found is None:
        raise ValueError(f"{part.title}: no labels")
    return found


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for line in (header, ["---"] + ["---:"] * (len(header) - 1), *rows):
        yield f"| {' | '.join(line)} |"


if __name__ == "__main__":
    main()
