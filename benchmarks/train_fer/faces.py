"""FER2013 as tensors: images, the label that FER2013 gives, and how ten people voted (FER+); and distorted batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TRAIN = DATA / "fer2013_train.npz"
HELD_BACK = 1500
"""Images of the train file that are not trained on, but choose the epoch."""

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Classes of FER2013."""

VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Classes of FER+; people could also say that they do not know, or see no face."""

_SAME = (4, 5, 6, 1, 3, 2, 0)  # LABELS by their place in VOTED
_TRUST_IN_VOTES = 0.3


@dataclass(frozen=True)
class Faces:
    """Labelled faces.

    Attributes:
        images: uint8 (N, 48, 48), gray.
        labels: int64 (N), of FER2013.
        votes: float32 (N, 8), shares of the votes for each class of FER+; all zero where nobody voted for any.
    """

    images: Tensor
    labels: Tensor
    votes: Tensor

    @classmethod
    def read(cls, path: Path) -> Faces:
        """Faces of an npz file of `../shared/data`."""
        with np.load(path) as file:
            if tuple(file["label_names"]) != LABELS or tuple(file["ferplus_columns"][: len(VOTED)]) != VOTED:
                raise ValueError(f"{path}: classes in another order")
            votes = torch.from_numpy(file["ferplus_votes"][:, : len(VOTED)].astype(np.float32))
            shares = votes / votes.sum(1, keepdim=True).clamp_min(1)
            return cls(torch.from_numpy(file["images"]), torch.from_numpy(file["labels"].astype(np.int64)), shares)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Tensor) -> Faces:
        return Faces(self.images[indices], self.labels[indices], self.votes[indices])

    @property
    def targets(self) -> Tensor:
        """What the FER2013 head is to say, float32 (N, 7): the label, and a share of what people voted.

        Labels are noisy, and votes say which of them are; but they answer for FER2013's question all the same.
        """
        hard = functional.one_hot(self.labels, len(LABELS)).float()
        soft = self.votes[:, _SAME]
        total = soft.sum(1, keepdim=True)
        return torch.where(total > 0, hard + _TRUST_IN_VOTES * (soft / total.clamp_min(1e-6) - hard), hard)


def split(count: int, held_back: int = HELD_BACK) -> tuple[Tensor, Tensor]:
    """Indices of `count` images: what to train on, and what to hold back; always the same ones."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[held_back:], order[:held_back]


def plain(faces: Faces, size: int) -> Tensor:
    """Images as the network is used on them: (N, 3, size, size) in [-1, 1]."""
    images = faces.images[:, None].float()
    return _normalised(functional.interpolate(images, (size, size), mode="bilinear", align_corners=False))


def distorted(faces: Faces, size: int, random: torch.Generator) -> Tensor:
    """The same mirrored, turned, scaled, moved, lit otherwise and partly covered, at random."""
    count = len(faces)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=random) * (high - low) + low

    mirror = uniform(-1, 1).sign()
    scale, angle = uniform(0.8, 1.15), uniform(-0.25, 0.25)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    right, down = uniform(-0.12, 0.12), uniform(-0.12, 0.12)
    transform = torch.stack([mirror * cosine, -sine, right, mirror * sine, cosine, down], dim=1).reshape(-1, 2, 3)
    where = functional.affine_grid(transform, [count, 1, size, size], align_corners=False)
    images = functional.grid_sample(faces.images[:, None].float(), where, padding_mode="border", align_corners=False)
    mean = images.mean((1, 2, 3), keepdim=True)
    gain, offset = uniform(0.7, 1.3).reshape(-1, 1, 1, 1), uniform(-25, 25).reshape(-1, 1, 1, 1)
    images = ((images - mean) * gain + mean + offset).clamp(0, 255)
    return _normalised(torch.where(_covered(count, size, uniform), mean, images))


def _covered(count: int, size: int, uniform: Callable[[float, float], Tensor]) -> Tensor:
    """A rectangle of up to a sixth of the image, for one image of four: bool (N, 1, size, size)."""
    place = torch.arange(size)[None] / size
    left, top = uniform(0, 1)[:, None], uniform(0, 1)[:, None]
    wide, high = uniform(0.15, 0.4)[:, None], uniform(0.15, 0.4)[:, None]
    chosen = uniform(0, 1) < 0.25
    across, along = (place >= left) & (place < left + wide), (place >= top) & (place < top + high)
    return (along[:, :, None] & across[:, None, :] & chosen[:, None, None])[:, None]


def _normalised(images: Tensor) -> Tensor:
    """Gray in [0, 255] as three channels in [-1, 1], laid out as convolutions on a CPU like it."""
    normalised = (images / 255 - 0.5) / 0.5
    return normalised.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
