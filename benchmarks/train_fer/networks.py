"""The networks that can be trained: the bundled one, and others that a conversion is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from benchmarks.architectures import import_timm
from benchmarks.train_fer.network import EfficientNetB0, with_imagenet_convolutions
from converters import mobilefacenet

NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "efficientnet_b0": lambda classes: with_imagenet_convolutions(EfficientNetB0(classes)),
    "mobilefacenet": lambda classes: mobilefacenet.build(64, [0, 4, 6, 2], 512, classes, side=4),
    **{
        name: lambda classes, name=name: import_timm().create_model(name, num_classes=classes)
        for name in ("resnet18", "mobilenetv3_large_100", "mobilevit_xxs")
    },
}
"""By name, timm's where it has one, what builds each for so many classes.  `mobilefacenet` takes images of 64x64."""


def export(network: nn.Module, size: int, path: Path) -> None:
    """Write a network as ONNX, as published files are: opset 17, a batch of any size."""
    network = network.eval().to("cpu", memory_format=torch.contiguous_format)
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, size, size),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )
