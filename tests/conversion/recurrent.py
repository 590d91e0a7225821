"""A CNN-LSTM in PyTorch, seeded so that it remembers, and sequences for it."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

LABELS = ("happy", "sad", "angry")
SIDE = 16
SPEC = {
    "input": {"size": [SIDE, SIDE], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "outputs": [{"name": "expression", "kind": "expression", "activation": "softmax", "labels": list(LABELS)}],
}


class CnnLstm(nn.Module):
    """As `converters/cnn_lstm.py` has them: one step of it, or a clip."""

    def __init__(self, layers: int = 1, *, bidirectional: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        convs, channels = [], 3
        for made in (8, 12):
            convs += [nn.Conv2d(channels, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]
            channels = made
        self.cnn = nn.Sequential(*convs)
        self.lstm = nn.LSTM(channels, 10, layers, bidirectional=bidirectional)
        self.fc = nn.Linear(20 if bidirectional else 10, len(LABELS))
        with torch.no_grad():
            for _ in range(20):  # batch norms see pixels such as they will
                self.cnn(torch.randn(8, 3, SIDE, SIDE))
            for weights in (self.lstm.weight_ih_l0, self.fc.weight):
                weights *= 6
        self.eval()

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One step: (1, 3, H, W)."""
        y, (h, c) = self.lstm(self.cnn(x).mean((2, 3))[None], (h, c))
        return self.fc(y[-1]), h, c

    def clip(self, x: torch.Tensor) -> torch.Tensor:
        """A clip: (1, T, 3, H, W)."""
        y, _ = self.lstm(self.cnn(x[0]).mean((2, 3))[:, None])
        return self.fc(y[-1])

    def expected(self, frames: np.ndarray) -> np.ndarray:
        """Probabilities (frames, labels) for uint8 frames (frames, H, W, 3), one after the other."""
        h = c = torch.zeros(self.lstm.num_layers, 1, 10)
        found = []
        with torch.no_grad():
            for x in planes(frames):
                y, h, c = self(x[None], h, c)
                found.append(y.softmax(1)[0].numpy())
        return np.stack(found)


def planes(frames: np.ndarray) -> torch.Tensor:
    """Normalised, (frames, 3, H, W)."""
    return torch.from_numpy(((frames / 255 - 0.5) / 0.25).astype(np.float32).transpose(0, 3, 1, 2))


def sequences(count: int = 12, length: int = 8, seed: int = 0) -> np.ndarray:
    """Blocks of colour that drift, uint8 (sequences, frames, H, W, 3)."""
    rng = np.random.default_rng(seed)
    base, drift = rng.integers(0, 256, (count, 1, 4, 4, 3)), rng.integers(-60, 60, (count, 1, 4, 4, 3))
    small = base + drift * np.arange(length).reshape(1, -1, 1, 1, 1)
    return np.clip(small, 0, 255).astype(np.uint8).repeat(SIDE // 4, 2).repeat(SIDE // 4, 3)


def save_sequences(path: Path, frames: np.ndarray) -> Path:
    """As an .npz file."""
    count, length = frames.shape[:2]
    np.savez(path, images=frames.reshape(-1, *frames.shape[2:]), sequence=np.repeat(np.arange(count), length))
    return path
