"""PSR, Pyramid with Super-Resolution: three branches of one VGG-16 at two sizes, one of them magnified by an EDSR.

Vo et al., IEEE Access 2020.  A spatial transformer aligns the image; it is read at half its size, at half its size
magnified twice, and as it is; the branches' first 24 layers are their own, what follows is shared; the mean of their
probabilities decides.  Eight classes are in FER+'s order, seven are RAF-DB's in that of their names, as the authors'
library has them; outputs of others must be stated, of **probabilities** (`activation = "none"`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edgefer.networks.network import Source, TorchNetwork

NORM = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SIZES = {4000: 96, 4410: 100}
"""Side of the image, by how many numbers of it the spatial transformer's linear layer reads: FER+, RAF-DB."""

LABELS = {
    8: ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"],
    7: ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"],
}
"""By how many they are: FER+, RAF-DB."""

_FIRST = "pyramid_group.1.0.body.0.body.0.weight"


def recognises(source: Source) -> bool:
    """Whether it has a spatial transformer and a branch that magnifies."""
    return source.holds("stn.localization.0.weight", _FIRST)


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network.
    """
    checkpoint = source.checkpoint(_FIRST)
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    read = shapes.get("stn.fc_loc.0.weight", (32, 4000))[-1]
    classes = shapes.get("classifier.1.0.8.weight", (8,))[0]
    blocks = sum(name.startswith("pyramid_group.1.0.body.") and name.endswith(".body.0.weight") for name in shapes)
    size = SIZES.get(read)
    spec: dict[str, Any] = {"input": {"size": [size, size], **NORM}} if size else {}
    if classes in LABELS:
        spec["outputs"] = [
            {"name": "expression", "kind": "expression", "activation": "none", "labels": LABELS[classes]}
        ]
    side = source.read_spec({**spec, "outputs": [{"name": "x", "kind": "embedding"}]}).input.size
    return TorchNetwork(partial(build, side, read, classes, blocks), spec, checkpoint)


def build(side: tuple[int, int], read: int, classes: int, blocks: int) -> Any:
    """The network.

    Args:
        side: height and width of the image.
        read: numbers of it that the spatial transformer's linear layer reads.
        classes: how many.
        blocks: residual blocks of the EDSR.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class SpatialTransformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.localization = nn.Sequential(
                *(nn.Conv2d(3, 8, 7), nn.MaxPool2d(2, 2), nn.ReLU()),
                *(nn.Conv2d(8, 10, 5), nn.MaxPool2d(2, 2), nn.ReLU()),
            )
            self.fc_loc = nn.Sequential(nn.Linear(read, 32), nn.ReLU(), nn.Linear(32, 6))
            rows, columns = (((torch.arange(count, device="cpu") * 2 + 1) / count - 1).tolist() for count in side)
            places = torch.tensor([[x, y, 1.0] for y in rows for x in columns])
            self.register_buffer("places", places, persistent=False)  # of all pixels, from -1 to 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            theta = self.fc_loc(self.localization(x).flatten(1)).reshape(-1, 2, 3)
            grid = (self.places @ theta.transpose(1, 2)).reshape(-1, *side, 2)
            return functional.grid_sample(x, grid, align_corners=False)

    class Add(nn.Module):
        def __init__(self, *layers: nn.Module) -> None:
            super().__init__()
            self.body = nn.Sequential(*layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) + x

    def conv(inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    class Magnify(nn.Module):
        """EDSR, without the shift of means."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(conv(3, 64))
            self.body = nn.Sequential(
                *(Add(conv(64, 64), nn.ReLU(), conv(64, 64)) for _ in range(blocks)), conv(64, 64)
            )
            self.tail = nn.Sequential(nn.Sequential(conv(64, 256), nn.PixelShuffle(2)), conv(64, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.head(x)
            return self.tail(self.body(x) + x)

    def layers(channels: int, *widths: int) -> list[nn.Module]:
        """Of VGG, 0 for a pool."""
        found: list[nn.Module] = []
        for width in widths:
            found += [conv(channels, width), nn.BatchNorm2d(width), nn.ReLU()] if width else [nn.MaxPool2d(2, 2)]
            channels = width or channels
        return found

    def beginning() -> list[nn.Module]:
        return layers(3, 64, 64, 0, 128, 128, 0, 256, 256, 256, 0)

    class Pool(nn.Module):
        """Adaptive average pool to 7x7, of maps of any size, by products: PyTorch's exporters know few sizes."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows, columns = (_averages(int(count), 7) for count in x.shape[2:])
            return rows @ x @ columns.T

    def _averages(count: int, bins: int) -> torch.Tensor:
        weights = torch.zeros(bins, count)
        for index in range(bins):
            start, stop = index * count // bins, -(-(index + 1) * count // bins)
            weights[index, start:stop] = 1 / (stop - start)
        return weights

    class MaxAndMean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)

    class Psr(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stn = SpatialTransformer()
            body = nn.Sequential(*layers(256, 512, 512, 512, 0, 512, 512, 512, 0), nn.Sequential(Pool()))
            head = nn.Sequential(
                *(MaxAndMean(), nn.Flatten(), nn.BatchNorm1d(1024), nn.Dropout(), nn.Linear(1024, 512), nn.ReLU()),
                *(nn.BatchNorm1d(512), nn.Dropout(), nn.Linear(512, classes)),
            )
            self.classifier = nn.Sequential(body, nn.Sequential(head))
            magnified = nn.Sequential(Magnify(), nn.Sequential(*beginning()))
            self.pyramid_group = nn.Sequential(nn.Sequential(*beginning()), magnified, nn.Sequential(*beginning()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stn(x)
            half = functional.avg_pool2d(x, 2)
            branches = zip(self.pyramid_group, (half, half, x), strict=True)
            found = [self.classifier(branch(image)).softmax(1) for branch, image in branches]
            return (found[0] + found[1] + found[2]) / 3

    return Psr()
