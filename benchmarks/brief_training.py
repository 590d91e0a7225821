"""A network trained on FER2013 for half a minute, so that it has something to lose: by one recipe whatever it is.

Random weights are no judge of a quantizer: what they answer hardly depends on the image, and of a light network every
quantizer leaves next to nothing.  Expressions take an hour to learn; what is learned here is which of as many kinds of
faces one is, of kinds that k-means finds in small copies of the train file's faces.  Large networks get fewer steps, by
their multiply-accumulates; in the end batch norms get the statistics of the same faces.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.published_networks import Published
from benchmarks.train_fer.faces import TRAIN
from edgefer.host.directories import cache_directory
from edgefer.host.files import replacing
from edgefer.spec import InputSpec, OutputSpec, Spec

Values = np.ndarray[Any, Any]

KINDS, ROUNDS = 7, 20
"""Of faces, and of k-means."""
STEPS, BATCH = 120, 32
WORK = 10**12
"""Multiply-accumulates of all forward passes, beyond which there are fewer steps."""
FEWEST = 10
"""Steps below which there are none, and only batch norms are fitted."""
RATE, DECAY = 3e-3, 0.01
"""Of AdamW, at its peak."""
SETTLED = 6
"""Batches whose statistics batch norms get."""


def steps(macs: int) -> int:
    """For a network of so many multiply-accumulates per sample."""
    affordable = min(STEPS, WORK // (BATCH * macs))
    return affordable if affordable >= FEWEST else 0


def trained(name: str, published: Published, spec: Spec, macs: int) -> nn.Module:
    """The network, trained, in evaluation mode; kept in the cache for the next time.

    Args:
        name: of its file there.
        published: what builds it, and of how many frames its samples are.
        spec: size and normalisation of its images, and the head that learns the kinds, whatever the Spec calls its
            classes.
        macs: multiply-accumulates per sample.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module: nn.Module = published.build()
    recipe = sha256(f"{Path(__file__).read_text()}{module}{spec}{macs}".encode()).hexdigest()[:16]
    kept = cache_directory() / "benchmarks" / f"{name}-{recipe}.pt"
    if kept.is_file():
        module.load_state_dict(torch.load(kept, weights_only=True))
        return module.eval()
    batches = _batches(spec.input, published.frames)
    _learn(module, batches, spec.outputs[0], steps(macs))
    _settle(module, batches)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as file:
        torch.save(module.state_dict(), file)
    return module.eval()


def first(outputs: Any) -> torch.Tensor:
    """The main output."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _learn(
    module: nn.Module, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], head: OutputSpec, count: int
) -> None:
    if not count:
        return
    with torch.no_grad():
        width = first(module.eval()(next(batches)[0][:1])).shape[1]
    # an embedding is read by a layer that is not kept
    reader = nn.Linear(width, KINDS) if head.kind == "embedding" else nn.Identity()
    learned = [*module.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(learned, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=count, pct_start=0.2)
    module.train()
    for step in range(count):
        images, labels = next(batches)
        answers = reader(first(module(images)))
        answers = answers[:, slice(*head.columns)] if head.columns else answers
        is_probability = head.kind == "expression" and head.activation == "none"
        loss = functional.cross_entropy(answers.clamp_min(1e-9).log() if is_probability else answers, labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
        if step % 25 == 0 or step == count - 1:
            print(f"step {step + 1} of {count}: loss {loss.item():.2f}", file=sys.stderr, flush=True)


def _settle(module: nn.Module, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give batch norms the statistics of faces."""
    module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
    with torch.no_grad():
        for _ in range(SETTLED):
            module(next(batches)[0])


def _batches(spec: InputSpec, frames: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Normalised images (BATCH, channels, h, w), or clips of one kind (BATCH, frames, channels, h, w); their kinds."""
    with np.load(TRAIN) as file:
        images = file["images"]
    labels = kinds(images)
    random = np.random.default_rng(0)
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (spec.mean, spec.std))
    while True:
        samples = grouped(labels, frames or 1, random)
        for begin in range(0, len(samples) - BATCH + 1, BATCH):
            chosen = samples[begin : begin + BATCH]
            stills = torch.from_numpy(images[chosen].reshape(-1, 1, *images.shape[1:])).float()
            feeds = (functional.interpolate(stills, spec.size, mode="bilinear") / 255 - mean) / std
            shape = (BATCH, *([frames] if frames else []), *feeds.shape[1:])
            yield feeds.reshape(shape), torch.from_numpy(labels[chosen[:, 0]])


def kinds(images: Values) -> Values:
    """Which of `KINDS` kinds each face is, int64 (N), for faces uint8 (N, 48, 48)."""
    with np.load(TRAIN) as file:
        known = _small(file["images"])
    centres = known[np.random.default_rng(0).choice(len(known), KINDS, replace=False)]
    for _ in range(ROUNDS):
        nearest = _nearest(known, centres)
        centres = np.stack([known[nearest == kind].mean(0) for kind in range(KINDS)])
    return _nearest(_small(images), centres)


def _small(images: Values) -> Values:
    """Faces of 12x12, of equal light and contrast, (N, 144)."""
    small = images.reshape(-1, 12, 4, 12, 4).mean((2, 4)).reshape(-1, 144)
    small = small - small.mean(1, keepdims=True)
    return small / (small.std(1, keepdims=True) + 1)


def _nearest(points: Values, centres: Values) -> Values:
    return (points @ centres.T - (centres**2).sum(1) / 2).argmax(1)


def grouped(labels: Values, count: int, random: np.random.Generator) -> Values:
    """Indices (samples, count) in random order, each sample of one label, and no index twice."""
    order = random.permutation(len(labels))
    alike = (order[labels[order] == label] for label in np.unique(labels))
    samples = [chosen[: len(chosen) // count * count].reshape(-1, count) for chosen in alike]
    found: Values = random.permutation(np.concatenate(samples))
    return found
