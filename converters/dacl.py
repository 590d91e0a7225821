"""DACL, the Deep Attentive Center Loss: a ResNet-18 whose attention network weighs a loss.

Farzaneh and Qi, WACV 2021; as in amirhfarzaneh/dacl (`main.py`, `models/resnet.py`).  Checkpoints are
`{"model_state_dict": ...}` of `nn.DataParallel`.  What decides is the ResNet: the attention network, 92 million
parameters, and the features serve the loss alone, and are left out.  Classes are in the order of the training set's
folders, of which the authors' README names neutral, happy, sad as the first and disgust as the last, and not the three
between: labels must be stated.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from edgefer.networks.network import Source, TorchNetwork

SPEC = {
    "input": {
        **{"size": [224, 224], "fit": "crop", "crop_fraction": 0.875},  # resized to 256, the centre of 224 cut out
        **{"mean": [0.5752, 0.4495, 0.4012], "std": [0.2086, 0.1911, 0.1827]},
    }
}

_WEIGHING = "attention_heads.weight"
_WHY = "which weigh the loss in training"


def recognises(source: Source) -> bool:
    """Whether it has attention heads beside a ResNet."""
    return source.holds("layer1.0.conv1.weight", _WEIGHING)


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network.
    """
    checkpoint = source.checkpoint("layer1.0.conv1.weight")
    names = checkpoint.tensors
    classes = names["fc.weight"].shape[0] if "fc.weight" in names else 7
    left = {"attention.": _WHY, "attention_heads.": _WHY}
    return TorchNetwork(partial(_build, classes), SPEC, checkpoint, left_out=left)


def _build(classes: int) -> Any:
    """The network of so many classes."""
    from torch import nn

    from edgefer.networks.resnet import stages

    head = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(512, classes)}
    return nn.Sequential(OrderedDict({**stages(18), **head}))
