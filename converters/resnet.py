"""ResNet-18, 34 and 50: state dicts of torchvision's, and with a head behind `features`, as in EAC.

    conv1.weight, layer1.0.conv1.weight ... fc.weight         torchvision
    features.0.weight, features.4.0.conv1.weight ... fc.weight

The second form is that of Erasing Attention Consistency (Zhang et al., ECCV 2022), whose ResNet-50 comes from
VGGFace2, and of plain networks that share its training code (zyh-uaiaaaa/Erasing-Attention-Consistency: `src/model.py`,
`src/resnet.py`, `src/main.py`; classes are RAF-DB's labels, in their order).  Tensors of the two ResNet-50 look alike,
but strides do not: the architecture's name says which it is.  EAC's attention map serves training alone, and is left
out; it has no weights of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from edgefer.errors import InputError, UsageError
from edgefer.networks.network import Source, TorchNetwork

EAC = "eac_resnet50"
ARCHITECTURES = ("resnet18", "resnet34", "resnet50", EAC)
INPUT = {"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
RAF_DB = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
EAC_SPEC = {
    "input": {**INPUT, "crop": {"square": True, "align": "eyes", "detector": "RAF-DB's aligned faces"}},
    "outputs": [{"name": "expression", "kind": "expression", "activation": "softmax", "labels": RAF_DB}],
}

_LEFT_OUT = "left out: the attention map that EAC returns beside its logits, which serves training alone"
_OTHERS = ("attention_heads.weight", "cat_head0.sa.conv1x1.0.weight", "arm.de_albino.weight")


def recognises(source: Source) -> bool:
    """Whether it has a ResNet's blocks and classifier, and is no network that is built upon one."""
    blocks = ("layer1.0.conv1.weight", "features.4.0.conv1.weight")
    return any(source.holds(block, "fc.weight") for block in blocks) and not any(map(source.holds, _OTHERS))


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is none of these, or nothing says which ResNet-50 it is.
    """
    wrapped = source.holds("features.4.0.conv1.weight")
    first = "features.4.0.conv1.weight" if wrapped else "layer1.0.conv1.weight"
    checkpoint = source.checkpoint(first)
    names = checkpoint.tensors
    bottleneck = first.replace("conv1", "conv3") in names
    third = "features.6.5.conv1.weight" if wrapped else "layer3.5.conv1.weight"
    depth = 50 if bottleneck else 34 if third in names else 18
    arch = _architecture(source, depth, wrapped)
    classes = names["fc.weight"].shape[0] if "fc.weight" in names else 1
    module = partial(build, depth, classes, wrapped=wrapped, caffe=arch == EAC)
    published = ("input", "outputs") if classes == len(RAF_DB) else ("input",)
    spec = {table: EAC_SPEC[table] for table in published} if arch == EAC else {}
    return TorchNetwork(module, spec, checkpoint, notes=(_LEFT_OUT,) if arch == EAC else ())


def build(depth: int, classes: int, *, wrapped: bool = False, caffe: bool = False) -> Any:
    """The network; `wrapped` where its layers lie in `features`, `caffe` as in `edgefer.networks.resnet`."""
    from torch import nn

    from edgefer.networks.resnet import stages

    layers = stages(depth, caffe=caffe)
    trunk = {"features": nn.Sequential(*layers.values())} if wrapped else layers
    head = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    fc = nn.Linear(2048 if depth >= 50 else 512, classes)
    return nn.Sequential(OrderedDict({**trunk, **head, "fc": fc}))


def _architecture(source: Source, depth: int, wrapped: bool) -> str:
    stated = source.stated.get("arch")
    if stated is not None and (stated not in ARCHITECTURES or not str(stated).endswith(str(depth))):
        known = ", ".join(arch for arch in ARCHITECTURES if arch.endswith(str(depth)))
        raise UsageError(f"{source.path}: arch is {stated!r}, but its blocks are those of {known}")
    if stated is None and wrapped and depth >= 50:
        raise InputError(
            f"{source.path}: its tensors do not show which ResNet-50 it is: EAC's, as VGGFace2's, has its strides "
            "elsewhere than torchvision's",
            remedy=f'Write it into {source.sidecar.name}, first line: arch = "{EAC}", or arch = "resnet50"; or give '
            "--arch.",
        )
    return str(stated or f"resnet{depth}")
