"""Trains the bundled network on FER2013 with the votes of FER+, or another by the same recipe.

    python -m benchmarks.train_fer RUN [--network resnet18]

RUN is a directory: `state.pt` after every epoch, from which the same command goes on; `log.jsonl`; and at the end
`network.pt`, the averaged weights of the epoch that did best on held-back training images, and the same as
`network.onnx`.  No other image decides anything.  Every random number follows from the seed and the step, so that an
interrupted run ends as another would.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.train_fer.faces import LABELS, TRAIN, VOTED, Faces, distorted, plain, split
from benchmarks.train_fer.networks import NETWORKS, export

EPOCHS = "6@64,13@96"
BATCH = 64
PEAK = 1e-3
WARM_UP = 400
WEIGHT_DECAY = 0.02
AVERAGED = 0.998
VOTES_WEIGHT = 0.5
"""What the head that predicts votes counts beside the head that predicts labels."""


@dataclass(frozen=True)
class Step:
    """One step of the schedule."""

    number: int
    epoch: int
    size: int
    last: bool  # of its epoch


def main() -> None:
    """Train as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of the run")
    parser.add_argument("--network", choices=NETWORKS, default="efficientnet_b0", help="default %(default)s")
    parser.add_argument("--data", type=Path, default=TRAIN)
    parser.add_argument("--epochs", type=sizes, default=EPOCHS, help="how many at which size; default %(default)s")
    parser.add_argument("--images", type=int, help="train on at most so many, to try it out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    faces = Faces.read(arguments.data)
    training, held_back = split(len(faces))
    train(
        arguments.run,
        faces[training[: arguments.images]],
        faces[held_back],
        name=arguments.network,
        epochs=arguments.epochs,
        seed=arguments.seed,
        device=arguments.device,
    )
    best = NETWORKS[arguments.network](len(LABELS) + len(VOTED))
    best.load_state_dict(torch.load(arguments.run / "network.pt", weights_only=True)["state_dict"])
    export(best, arguments.epochs[-1], arguments.run / "network.onnx")


def sizes(text: str) -> list[int]:
    """The size of the images in each epoch; `"6@64,13@96"` is six at 64 pixels and thirteen at 96.

    Raises:
        ArgumentTypeError: it is written otherwise.
    """
    stages = [re.fullmatch(r"([1-9]\d*)@([1-9]\d*)", stage) for stage in text.split(",")]
    if None in stages:
        raise argparse.ArgumentTypeError(f"{text!r} is not like {EPOCHS!r}: how many epochs at which size, in turn")
    return [int(stage[2]) for stage in stages if stage for _ in range(int(stage[1]))]


def train(
    run: Path,
    faces: Faces,
    held_back: Faces,
    *,
    name: str = "efficientnet_b0",
    epochs: list[int],
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = BATCH,
) -> None:
    """Train, or go on, and write `network.pt`.

    Args:
        run: directory of the run.
        faces: to train on.
        held_back: to choose an epoch by.
        name: of the network, one of `NETWORKS`.
        epochs: the size of the images in each.
        seed: of everything random.
        device: of PyTorch.
        batch_size: images of a step; what is left over at the end of an epoch is left out.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = NETWORKS[name](len(LABELS) + len(VOTED)).to(device, memory_format=torch.channels_last)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
    optimiser = torch.optim.AdamW(_parameter_groups(network), lr=PEAK)
    parts = {"network": network, "averaged": averaged, "optimiser": optimiser}
    done, best = _resume(run / "state.pt", parts)
    each = len(faces) // batch_size
    steps = list(schedule(epochs, each))
    losses, begun = [], time.monotonic()
    for step in steps[done:]:
        torch.manual_seed(_seed(seed, step.number))
        for group in optimiser.param_groups:
            group["lr"] = PEAK * rate(step.number, len(steps))
        order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(_seed(seed, -1 - step.epoch)))
        batch = faces[order[step.number % each * batch_size :][:batch_size]]
        network.train()
        images = distorted(batch, step.size, torch.default_generator).to(device)
        loss = _loss(network(images), batch.targets.to(device), batch.votes.to(device))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        averaged.update_parameters(network)
        losses.append(loss.detach())
        if step.last:
            found = judge(averaged.module, held_back, step.size, device)
            if step.size == epochs[-1] and found["accuracy"] > best:
                best = found["accuracy"]
                _save(run / "network.pt", _published(averaged.module, name, step.size, found))
            _save(run / "state.pt", {"done": step.number + 1, "best": best, **_states(parts)})
            entry = {"epoch": step.epoch, "size": step.size, "loss": torch.stack(losses).mean().item(), **found}
            entry = {name: round(value, 4) for name, value in entry.items()}
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps({**entry, "seconds": round(time.monotonic() - begun)}) + "\n")
            losses, begun = [], time.monotonic()


@torch.no_grad()
def judge(network: nn.Module, faces: Faces, size: int, device: str = "cpu") -> dict[str, float]:
    """Accuracy against FER2013's labels, and against the class that most people voted for."""
    network.eval()
    logits = torch.cat([network(plain(faces[part], size).to(device)).cpu() for part in _parts(len(faces))])
    labels, votes = logits.split([len(LABELS), len(VOTED)], dim=1)
    voted = faces.votes.sum(1) > 0
    return {
        "accuracy": (labels.argmax(1) == faces.labels).float().mean().item(),
        "votes_accuracy": (votes.argmax(1) == faces.votes.argmax(1))[voted].float().mean().item(),
    }


def _parts(count: int) -> Iterator[Tensor]:
    return iter(torch.arange(count).split(256))


def schedule(epochs: list[int], each: int) -> Iterator[Step]:
    """The steps of all epochs, `each` in every one."""
    for epoch, size in enumerate(epochs):
        for index in range(each):
            yield Step(epoch * each + index, epoch, size, index == each - 1)


def rate(step: int, steps: int) -> float:
    """What share of the peak a step learns at: up in a straight line, down along a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * (1 + cos(pi * step / steps)) / 2


def _seed(seed: int, number: int) -> int:
    return seed * 2**32 + 2**31 + number


def _loss(logits: Tensor, targets: Tensor, votes: Tensor) -> Tensor:
    """Cross-entropy with the labels, and with the votes where there are any."""
    labelled, voted = logits.split([len(LABELS), len(VOTED)], dim=1)
    of_votes = -(votes * voted.log_softmax(1)).sum(1).mean()
    return functional.cross_entropy(labelled, targets) + VOTES_WEIGHT * of_votes


def _parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Weights decay; biases and batch norms do not."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim < 2]
    return [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _published(network: nn.Module, name: str, size: int, found: Mapping[str, float]) -> dict[str, Any]:
    """A checkpoint as converters read it, with both heads in the classifier."""
    return {
        "state_dict": network.state_dict(),
        "arch": name,
        "input_size": size,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "label_names": list(LABELS),
        "held_back": dict(found),
    }


def _states(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part.state_dict() for name, part in parts.items()}


def _resume(path: Path, parts: Mapping[str, Any]) -> tuple[int, float]:
    """Steps that are done already, and the best accuracy so far."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["done"], state["best"]


def _save(path: Path, what: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(dict(what), temporary)
    temporary.replace(path)


if __name__ == "__main__":
    main()
