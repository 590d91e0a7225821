"""A CNN-LSTM on the features of a frozen fer_b0, against its own frame CNN, where one frame does not settle it.

    python -m benchmarks.train_sequences

needs ../shared and torch; takes about six minutes.  FER2013 has stills, so sequences are composed of them: a neutral
face, an expression that comes (onset), stays (apex) and goes (offset), by fading from one still to another and back,
and in every frame noise, another place and another light.  The label of all frames is the expression that the sequence
shows; at its ends nobody could see it.  Stills of the train file are trained on, and others of it choose the LSTM's
size; those of the public test judge, once.  No still is in two sequences.

What it is judged against: fer_b0 as it is, on each frame, and the mean of its probabilities over the frames so far; and
a linear layer on its features that was trained on the same frames, which is all that a network of single frames can
make of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

import edgefer
from benchmarks.measured import signed
from benchmarks.train_fer.faces import DATA, LABELS, TRAIN
from edgefer.evaluation.statistics import bootstrap
from edgefer.graph.contract import apply_contract, head_logits
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.images.preprocess import to_pixels
from edgefer.networks.families import load_network
from edgefer.runtime.runners import onnx_session

Array: TypeAlias = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = DATA.parent / "models" / "fer_b0.pt"
PUBLIC = DATA / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "train_sequences.md"

FRAMES = 12
TRAINED, CHOOSING, CALIBRATED, JUDGED = 2000, 300, 40, 400
"""Sequences."""
NOISE = 10.0
"""Standard deviation, of 255 levels."""
HIDDEN = 64, 128, 256
"""Sizes of the LSTM to choose from."""
DROPPED = 0.3  # of the features, in training
EPOCHS = 15
NEUTRAL = LABELS.index("neutral")


def composed(path: Path, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sequences (count, FRAMES, 48, 48) of the stills of a file, and the class of each."""
    with np.load(path) as file:
        images, labels = file["images"].astype(np.float32), file["labels"]
    neutral = rng.permutation(np.flatnonzero(labels == NEUTRAL))
    shown = rng.permutation(np.concatenate([np.flatnonzero(labels == label) for label in set(range(7)) - {NEUTRAL}]))
    classes = rng.choice(len(LABELS), count)
    taken = {label: iter([int(i) for i in shown if labels[i] == label]) for label in range(7)}
    pool = iter([int(i) for i in neutral])
    taken[NEUTRAL] = pool
    found = np.empty((count, FRAMES, 48, 48), np.uint8)
    kept = []
    for place, label in enumerate(classes):
        before, after = next(pool, None), next(taken[int(label)], None)
        if before is None or after is None:
            continue
        peak, apex, width = rng.uniform(0.85, 1.0), rng.uniform(2.5, FRAMES - 5.5), rng.uniform(1.8, 2.8)
        share = peak * np.exp(-0.5 * ((np.arange(FRAMES) - apex) / width) ** 4)
        for frame in range(FRAMES):
            image = (1 - share[frame]) * images[before] + share[frame] * images[after]
            moved = np.roll(image, rng.integers(-2, 3, 2), (0, 1))
            lit = moved * rng.uniform(0.85, 1.15) + rng.normal(0, NOISE, image.shape)
            found[place, frame] = np.clip(np.rint(lit), 0, 255)
        kept.append(place)
    return found[kept], classes[kept]


class Frames:
    """The frozen fer_b0.

    Attributes:
        spec: of it.
    """

    def __init__(self) -> None:
        network = load_network(CHECKPOINT)
        graph = apply_contract(normalise(network.graph), network.spec)
        self.spec = network.spec
        logits = head_logits(graph, network.spec)[network.spec.outputs[0].name]
        self._values = [graph.producers[logits].inputs[0], network.spec.outputs[0].name]
        self._session = onnx_session(to_onnx(graph, self._values[:1]), threads=2)
        self._input = graph.inputs[0]

    def __call__(self, sequences: Array) -> tuple[Array, Array]:
        """Features (sequences, FRAMES, features) and probabilities (sequences, FRAMES, classes)."""
        found: list[list[Array]] = []
        for image in sequences.reshape(-1, 48, 48):
            pixels = to_pixels(np.repeat(image[:, :, np.newaxis], 3, axis=2), self.spec.input)
            found.append(self._session.run(self._values, {self._input: pixels[np.newaxis]}))
        features, probabilities = (np.concatenate(values) for values in zip(*found, strict=True))
        shape = sequences.shape[:2]
        return features.reshape(*shape, -1), probabilities.reshape(*shape, -1)


class Head(nn.Module):  # type: ignore[misc]
    """What stands on the features: an LSTM and a linear layer, or that alone."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden) if hidden else None
        self.fc = nn.Linear(hidden or features, len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each frame, (FRAMES, sequences, classes)."""
        dropped = functional.dropout(x, DROPPED, self.training)
        return self.fc(self.lstm(dropped)[0] if self.lstm is not None else dropped)


def trained(features: Array, classes: Array, hidden: int) -> Head:
    """By Adam, on all frames of a sequence alike."""
    torch.manual_seed(0)
    head = Head(features.shape[2], hidden)
    x, y = torch.from_numpy(features).transpose(0, 1), torch.from_numpy(classes.astype(np.int64))
    optimiser = torch.optim.Adam(head.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(y)).split(64):
            logits = head(x[:, some])
            targets = y[some].expand(FRAMES, -1)
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return head.eval()


def answers(head: Head, features: Array) -> Array:
    """Probabilities (sequences, FRAMES, classes)."""
    with torch.no_grad():
        found: Array = head(torch.from_numpy(features).transpose(0, 1)).softmax(2).transpose(0, 1).numpy()
    return found


def saved(head: Head, folder: Path) -> Path:
    """fer_b0 and the head as one checkpoint, in the layout of `converters/cnn_lstm.py`."""
    state = torch.load(CHECKPOINT, weights_only=True)
    frame = {f"cnn.{name}": value for name, value in state["state_dict"].items() if not name.startswith("classifier.")}
    torch.save({**frame, **head.state_dict()}, folder / "cnn_lstm.pt")
    return folder / "cnn_lstm.pt"


def as_set(path: Path, sequences: Array, classes: Array) -> Path:
    """Sequences as an image set."""
    np.savez(
        path,
        images=sequences.reshape(-1, 48, 48),
        sequence=np.repeat(np.arange(len(sequences)), FRAMES),
        labels=np.repeat(classes, FRAMES),
        label_names=np.array(LABELS),
    )
    return path


def interval(values: Array, digits: int) -> str:
    """A mean over sequences, and its interval, as two columns."""
    found = bootstrap(values.astype(np.float64)[:, np.newaxis])
    ends = "" if found is None else f"{found[0]:.{digits}f} to {found[1]:.{digits}f}"
    return f"{values.mean():.{digits}f} | {ends}"


def right(values: Array, truth: Array) -> Array:
    """Whether each frame's answer is its sequence's expression, (sequences, FRAMES)."""
    found: Array = values.argmax(axis=2) == truth[:, np.newaxis]
    return found


def _all(correct: Array) -> Array:
    share: Array = correct.mean(axis=1)
    return share


def _last(correct: Array) -> Array:
    return correct[:, -1]


def main() -> int:
    """Compose, train, convert, judge; write the table."""
    frames = Frames()
    sequences, classes = composed(TRAIN, TRAINED + CHOOSING + CALIBRATED, np.random.default_rng(0))
    features, _ = frames(sequences[:-CALIBRATED])
    linear, *recurrent = (trained(features[:TRAINED], classes[:TRAINED], hidden) for hidden in (0, *HIDDEN))
    known = [
        float(np.mean(right(answers(head, features[TRAINED:]), classes[TRAINED:-CALIBRATED]))) for head in recurrent
    ]
    best = int(np.argmax(known))
    judged, truth = composed(PUBLIC, JUDGED, np.random.default_rng(1))
    seen, probabilities = frames(judged)
    of_frames = answers(linear, seen)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": list(LABELS)}
        document = {"input": frames.spec.to_dict()["input"], "outputs": [output]}
        calibration = as_set(folder / "calibration.npz", sequences[-CALIBRATED:], classes[-CALIBRATED:])
        bundle = edgefer.convert(
            saved(recurrent[best], folder),
            folder / "bundle",
            arch=str(torch.load(CHECKPOINT, weights_only=True)["arch"]),
            spec=document,
            calibration=calibration,
            samples=CALIBRATED * FRAMES,
        )
        evaluation = edgefer.evaluate(bundle, as_set(folder / "judged.npz", judged, truth), layer_images=0)
    shape = (len(judged), FRAMES, len(LABELS))
    found = {model: heads["expression"].reshape(shape) for model, heads in evaluation.outputs.values.items()}
    rows = {
        "fer_b0, each frame": probabilities,
        "fer_b0, mean of its probabilities so far": np.cumsum(probabilities, axis=1),
        "linear layer trained on these frames, each frame": of_frames,
        "linear layer, mean of its probabilities so far": np.cumsum(of_frames, axis=1),
        "CNN-LSTM, float32": found["reference"],
        "CNN-LSTM, int8, TFLite": found["tflite"],
        "CNN-LSTM, int8, ONNX": found["onnx"],
    }
    correct = {name: right(values, truth) for name, values in rows.items()}
    every, last = ({name: 100.0 * at(found) for name, found in correct.items()} for at in (_all, _last))
    table = [f"| {name} | {interval(every[name], 1)} | {interval(last[name], 1)} |" for name in rows]
    exact = "CNN-LSTM, float32"
    rival = max(list(rows)[:4], key=lambda name: last[name].mean())
    losses = [
        f"| {name} | {interval(every[exact] - every[name], 2)} | {interval(last[exact] - last[name], 2)} | "
        f"{100 * np.mean(rows[exact].argmax(axis=2) == rows[name].argmax(axis=2)):.1f} |"
        for name in list(rows)[5:]
    ]
    gain, gained = interval(last[exact] - last[rival], 1).split(" | ")
    text = (
        f"Written by `benchmarks/train_sequences.py`: {len(judged)} sequences of {FRAMES} frames, composed of stills "
        "of FER2013's public test.  Per cent of all frames, and of last frames, for which the answer is the expression "
        "of the sequence, with 95 % intervals over sequences.  Artifacts carry their own states.\n\n"
        "| | all frames | 95 % | last frame | 95 % |\n|---|---:|---:|---:|---:|\n"
        + "\n".join(table)
        + f"\n\nAt the last frame the CNN-LSTM is right on {gain} points more sequences ({gained}) than the best that "
        f"is made of single frames: {rival}.  Of {', '.join(map(str, HIDDEN))} units it has {HIDDEN[best]}, with which "
        f"it is right on most frames of {CHOOSING} other sequences, of the train file's stills "
        f"({' / '.join(f'{100 * share:.1f}' for share in known)} %).  These sequences were composed and judged once; "
        "how hard they are had been settled on others of the same stills.\n\n"
        "What int8 loses, in points, and where it answers as float does:"
        "\n\n| | all frames | 95 % | last frame | 95 % | agreement, % |\n|---|---:|---:|---:|---:|---:|\n"
        + "\n".join(losses)
        + "\n"
    )
    RESULT.write_text(signed(text, "emit", "graph", "quantize"), "utf-8")
    print(RESULT.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
