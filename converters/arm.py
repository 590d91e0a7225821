"""ARM, the Amend Representation Module: a ResNet-18 whose last map is rearranged into two planes and amended.

Shi et al., 2021; layers, normalisation and the order of classes as in SimKarras/Amend-Representation-Module
(`src/Networks.py`, `src/train_raf-db.py`).  Checkpoints are `{"model_state_dict": ...}`, trained on RAF-DB's aligned
faces.  **The network adds the mean over its batch to each image's representation**: in an artifact, which sees one
image, that mean is the image's own.  That is another network than was trained and judged in batches of 256.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edgefer.networks.network import Source, TorchNetwork

INPUT = {
    **{"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "crop": {"square": True, "align": "eyes", "detector": "RAF-DB's aligned faces"},
}
RAF_DB = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]

_AMENDED = "arm.de_albino.weight"
_COUPLED = (
    "ARM adds the mean over its batch to the representation of each image: the artifacts, which see one image, add the "
    "image's own, so that their accuracy is another than in batches"
)


def recognises(source: Source) -> bool:
    """Whether it has the module's convolution behind a ResNet's features."""
    return source.holds("features.4.0.conv1.weight", _AMENDED)


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network.
    """
    checkpoint = source.checkpoint(_AMENDED)
    names = checkpoint.tensors
    classes = names["fc.weight"].shape[0] if "fc.weight" in names else len(RAF_DB)
    spec: dict[str, Any] = {"input": INPUT}
    if classes == len(RAF_DB):
        spec["outputs"] = [{"name": "expression", "kind": "expression", "activation": "softmax", "labels": RAF_DB}]
    return TorchNetwork(partial(build, classes), spec, checkpoint, notes=(_COUPLED,))


def build(classes: int) -> Any:
    """The network of so many classes."""
    import torch
    from torch import nn

    from edgefer.networks.resnet import stages

    class Amend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.de_albino = nn.Conv2d(1, 1, 32, 8, bias=False)  # the same for both planes
            self.bn = nn.BatchNorm2d(2)
            self.alpha = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.bn(torch.cat([self.de_albino(plane) for plane in x.split(1, 1)], 1))
            return x.mean(1, keepdim=True) + self.alpha * x.mean((0, 1))

    class Arm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*stages(18).values())
            self.arrangement = nn.PixelShuffle(16)
            self.arm = Amend()
            self.fc = nn.Linear(121, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.arm(self.arrangement(self.features(x))).flatten(1))

    return Arm()
