"""DAN, Distract your Attention Network: a ResNet-18 and cross-attention heads.

Wen et al., Biomimetics 2023; layers, normalisation and orders of classes as in yaoing/DAN (`networks/dan.py`,
`demo.py`, `affectnet.py`, `rafdb.py`).  Checkpoints are `{"model_state_dict": ...}` of any number of heads.  Eight
classes are AffectNet's; seven are AffectNet's without contempt, or RAF-DB's in another order, which tensors do not tell
apart.  The features and the heads that the network also returns serve its losses alone, and are left out.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edgefer.errors import InputError
from edgefer.networks.network import Source, TorchNetwork

INPUT = {"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CROP = {"margin": 0.0, "detector": "Haar cascade"}
"""Of the network with eight classes."""

AFFECTNET_8 = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
RAF_DB = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]

_HEAD = "cat_head0.sa.conv1x1.0.weight"
_LEFT_OUT = "left out: the features and the heads that DAN returns beside its logits, which serve its losses alone"


def recognises(source: Source) -> bool:
    """Whether it has a first cross-attention head behind a ResNet's features."""
    return source.holds("features.4.0.conv1.weight", _HEAD)


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network; or nothing says which seven classes these are.
    """
    checkpoint = source.checkpoint(_HEAD)
    names = checkpoint.tensors
    heads = len({name.partition(".")[0] for name in names if name.startswith("cat_head")})
    classes = names["fc.weight"].shape[0] if "fc.weight" in names else len(AFFECTNET_8)
    spec: dict[str, Any] = {"input": INPUT}
    if classes == len(AFFECTNET_8):
        head = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": AFFECTNET_8}
        spec = {"input": {**INPUT, "crop": CROP}, "outputs": [head]}
    elif classes == len(RAF_DB) and "outputs" not in source.stated:
        raise InputError(
            f"{source.path}: its seven classes may be AffectNet's or RAF-DB's, which its authors order differently",
            remedy=f'Write {source.sidecar.name}:\n\n[[outputs]]\nname = "expression"\nkind = "expression"\n'
            f'activation = "softmax"\nlabels = {AFFECTNET_8[:-1]}  # if trained on AffectNet\n'
            f"labels = {RAF_DB}  # if on RAF-DB\n\nwith one of the two lines of labels.",
        )
    return TorchNetwork(partial(build, heads, classes), spec, checkpoint, notes=(_LEFT_OUT,))


def build(heads: int, classes: int) -> Any:
    """The network of so many attention heads and classes."""
    import torch
    from torch import nn

    from edgefer.networks.resnet import stages

    def conv_norm(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Sequential:
        padding = (kernel[0] // 2, kernel[1] // 2)
        return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs))

    class Spatial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1x1 = conv_norm(512, 256, (1, 1))
            self.conv_3x3 = conv_norm(256, 512, (3, 3))
            self.conv_1x3 = conv_norm(256, 512, (1, 3))
            self.conv_3x1 = conv_norm(256, 512, (3, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv1x1(x)
            y = torch.relu(self.conv_3x3(y) + self.conv_1x3(y) + self.conv_3x1(y))
            return x * y.sum(1, keepdim=True)

    class Channel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.Sequential(
                *(nn.Linear(512, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 512), nn.Sigmoid())
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.mean((2, 3))
            return x * self.attention(x)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sa, self.ca = Spatial(), Channel()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.ca(self.sa(x))

    class Dan(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*stages(18).values())
            for index in range(heads):
                self.add_module(f"cat_head{index}", Head())
            self.fc = nn.Linear(512, classes)
            self.bn = nn.BatchNorm1d(classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.features(x)
            found = torch.stack([getattr(self, f"cat_head{index}")(x) for index in range(heads)], 1)  # (N, heads, 512)
            if heads > 1:
                found = torch.log_softmax(found, 1)
            return self.bn(self.fc(found.sum(1)))

    return Dan()
