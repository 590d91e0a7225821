"""What is done to images and maps: front ends in the graph, borders, resizing, rearranging."""

from __future__ import annotations

from functools import partial
from math import cos, pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operator_networks.parts import SIZE, WIDTH, Formula, Layer, Made, Said, conv, of_faces, pooled, stem
from benchmarks.published_networks import Published

_GRAY = 0.299, 0.587, 0.114


def _gray(x: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, 1, H, W), as indexing writes it."""
    red, green, blue = _GRAY
    return (red * x[:, 0] + green * x[:, 1] + blue * x[:, 2]).unsqueeze(1)


class _FromPixels(nn.Module):
    """Pixels up to 255 to what the stem takes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x / 255.0 - self.mean) / self.std


def _gray_from_pixels(x: Tensor) -> Tensor:
    gray = torch.einsum("nchw,c->nhw", x, torch.tensor(_GRAY)).unsqueeze(1)
    return ((gray / 255 - 0.5) / 0.5).repeat(1, 3, 1, 1)


def _per_image(x: Tensor) -> Tensor:
    """Each image to mean 0 and deviation 1, as tf.image.per_image_standardization."""
    pixels = x.flatten(1)
    least = torch.tensor(1.0 / sqrt(pixels.shape[1]))
    deviation = torch.maximum(pixels.std(1, keepdim=True), least)
    return ((pixels - pixels.mean(1, keepdim=True)) / deviation).view_as(x)


def _local_contrast(x: Tensor) -> Tensor:
    """Divided by what a window of 9 deviates by."""
    gray = _gray(x)
    mean = functional.avg_pool2d(gray, 9, 1, 4, count_include_pad=False)
    variance = functional.avg_pool2d(gray * gray, 9, 1, 4, count_include_pad=False) - mean * mean
    return ((gray - mean) / torch.sqrt(variance.clamp(min=0) + 1e-2)).expand(-1, 3, -1, -1)


def _sobel(x: Tensor) -> Tensor:
    rows = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    weights = torch.stack([rows, rows.t()]).unsqueeze(1)
    across, down = functional.conv2d(functional.pad(_gray(x), (1, 1, 1, 1), "replicate"), weights).chunk(2, 1)
    length = torch.sqrt(across**2 + down**2 + 1e-6)
    return torch.cat([length, torch.atan2(down.abs(), across.abs() + 0.1) / pi, _gray(x)], 1)


def _haar(x: Tensor) -> Tensor:
    """Four bands of half the side."""
    a, b = x[:, :, 0::2, 0::2], x[:, :, 0::2, 1::2]
    c, d = x[:, :, 1::2, 0::2], x[:, :, 1::2, 1::2]
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2


def _cosines(count: int) -> Tensor:
    rows = [[cos(pi * (2 * n + 1) * k / (2 * count)) * sqrt(2 / count) for n in range(count)] for k in range(count)]
    rows[0] = [value / sqrt(2) for value in rows[0]]
    return torch.tensor(rows)


def _dct(basis: Tensor, x: Tensor) -> Tensor:
    """Coefficients of blocks of 8x8 of a gray image, (N, 64, 8, 8)."""
    blocks = functional.unfold(_gray(x), 8, stride=8).transpose(1, 2).reshape(-1, 64, 8, 8)
    return (basis @ blocks @ basis.t()).reshape(-1, 64, 64).transpose(1, 2).reshape(-1, 64, 8, 8)


def _spectrum(cosines: Tensor, sines: Tensor, x: Tensor) -> Tensor:
    """The logarithm of a gray image's power, by matrices."""
    gray = _gray(x)
    real = cosines @ gray @ cosines - sines @ gray @ sines
    imaginary = -(sines @ gray @ cosines + cosines @ gray @ sines)
    power = torch.log(real**2 + imaginary**2 + 1.0)
    return torch.cat([torch.roll(power, (32, 32), (2, 3)) / 4 - 1, gray, gray], 1)


def _binary_pattern(x: Tensor) -> Tensor:
    """Local binary patterns: which of eight neighbours are lighter, and the sum of their weights."""
    gray = functional.pad(_gray(x), (1, 1, 1, 1), mode="reflect")
    middle = gray[:, :, 1:-1, 1:-1]
    offsets = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    bits = [(gray[:, :, r : r + SIZE, c : c + SIZE] >= middle).float() * 2.0**i for i, (r, c) in enumerate(offsets)]
    return torch.cat([sum(bits) / 127.5 - 1, middle, middle], 1)


class _Flipped(nn.Module):
    """The same layers on an image and its mirror image, their answers averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(stem(), pooled())

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) + self.layers(torch.flip(x, [3]))) / 2


class _Crops(nn.Module):
    """The same layers on five crops as a batch, their answers averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(stem(), pooled())

    def forward(self, x: Tensor) -> Tensor:
        corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
        crops = torch.stack([x[..., top : top + 56, left : left + 56] for top, left in corners], 1)
        return self.layers(crops.flatten(0, 1)).view(x.shape[0], 5, -1).mean(1)


class _Transformer(nn.Module):
    """Jaderberg et al. 2015: a small network turns and scales the image before the other sees it."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.where = nn.Sequential(stem(4, 16), nn.Flatten(), nn.Linear(256, 6))
        self.options = options
        with torch.no_grad():
            self.where[-1].weight.mul_(0.3)
            self.where[-1].bias.copy_(torch.tensor([0.9, 0.05, 0, -0.05, 0.9, 0]))

    def forward(self, x: Tensor) -> Tensor:
        grid = functional.affine_grid(self.where(x).view(-1, 2, 3), list(x.size()), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False, **self.options)


class _Deformed(nn.Module):
    """Places learned for each point of a map, read between pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.away = nn.Conv2d(WIDTH, 2, 3, padding=1)
        side = torch.linspace(-1, 1, 8)
        rows, columns = torch.meshgrid(side, side, indexing="ij")
        self.register_buffer("grid", torch.stack([columns, rows], -1)[None])

    def forward(self, x: Tensor) -> Tensor:
        away = torch.tanh(self.away(x)).permute(0, 2, 3, 1) * 0.25
        return functional.grid_sample(x, self.grid + away, mode="bilinear", padding_mode="border", align_corners=True)


class _Topdown(nn.Module):
    """A feature pyramid: the small map enlarged and added to the larger one."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.below, self.side = conv(WIDTH, WIDTH, 3, 2), nn.Conv2d(WIDTH, WIDTH, 1)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return self.side(x) + functional.interpolate(self.below(x), **self.options)


class _Enlarged(nn.Module):
    """Smaller by a convolution, larger again by what is given, added."""

    def __init__(self, larger: Layer) -> None:
        super().__init__()
        self.below, self.larger = conv(WIDTH, WIDTH, 3, 2), larger()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.larger(self.below(x))


class _Carafe(nn.Module):
    """Wang et al. 2019: each point of the larger map is a weighted mean of its neighbours, weights from the map."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Sequential(nn.Conv2d(WIDTH, 36, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        weights = self.weights(x).softmax(1)
        near = functional.unfold(x, 3, padding=1).view(batch, channels * 9, height, width)
        near = functional.interpolate(near, scale_factor=2, mode="nearest").view(batch, channels, 9, height * 2, -1)
        return (near * weights.unsqueeze(1)).sum(2)


class _Involution(nn.Module):
    """Li et al. 2021: kernels that the map itself decides."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Conv2d(WIDTH, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4 * 9, 1))
        self.unfold = nn.Unfold(3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        kernel = self.kernel(x).view(batch, 4, 9, height, width).unsqueeze(2)
        near = self.unfold(x).view(batch, 4, channels // 4, 9, height, width)
        return (kernel * near).sum(dim=3).view(batch, channels, height, width)


class _Mixture(nn.Module):
    """Dynamic convolution (Chen et al. 2020): weights are a mixture that the image decides, of one image at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.choose = nn.Linear(WIDTH, 3)
        self.weights = nn.Parameter(torch.randn(3, WIDTH, WIDTH, 3, 3) * 0.06)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        shares = torch.softmax(self.choose(x.mean((2, 3))) / 3, 1)
        weights = (shares @ self.weights.flatten(1)).view(batch * channels, channels, 3, 3)
        found = functional.conv2d(x.reshape(1, batch * channels, height, width), weights, padding=1, groups=batch)
        return found.view(batch, channels, height, width)


def _shuffled(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    return x.view(batch, 4, channels // 4, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)


def _shifted(x: Tensor) -> Tensor:
    """Channels moved left, right, up, down by one place."""
    left, right, up, down, rest = torch.split(x, [6, 6, 6, 6, 8], 1)
    moved = [
        functional.pad(left[..., 1:], (0, 1)),
        functional.pad(right[..., :-1], (1, 0)),
        torch.roll(up, -1, 2),
        functional.pad(down, (0, 0, 1, 0))[:, :, :-1],
    ]
    return torch.cat([*moved, rest], 1)


def _folded(x: Tensor) -> Tensor:
    """Overlapping patches, weighed and put back."""
    patches = functional.unfold(x, 4, stride=2, padding=1)
    return functional.fold(torch.relu(patches - 0.1), x.shape[2:], 4, stride=2, padding=1) / 4


def _sliced(x: Tensor) -> Tensor:
    x = torch.cat([x[:, ::2], x[:, 1::2].flip(1)], 1)
    x = x.index_select(3, torch.tensor([0, 2, 4, 6, 7, 5, 3, 1]))
    x[:, :4, 0] = x[:, :4, 1] * 0.5
    return torch.rot90(x, 1, (2, 3))[..., 1:-1, :].narrow(2, 1, 4)


def _front(function: Said, *held: Made, inputs: int = 3) -> Published:
    """Before the stem, on images."""
    return of_faces(lambda: Formula(function, *(each() for each in held)), lambda: stem(inputs=inputs), pooled)


def _fixed(values: Tensor) -> Made:
    return lambda: nn.Parameter(values, requires_grad=False)


def _inside(make: Layer, side: int = 8, width: int = WIDTH) -> Published:
    """Between the stem and a last convolution."""
    return of_faces(partial(stem, side), make, partial(conv, width, WIDTH, 1), pooled)


def _padded(mode: str) -> Published:
    layer = partial(nn.Conv2d, WIDTH, WIDTH, 3, padding=1, padding_mode=mode, groups=WIDTH)
    return _inside(lambda: nn.Sequential(layer(), nn.BatchNorm2d(WIDTH), nn.ReLU()))


_ANGLES = 2 * pi * torch.outer(torch.arange(64.0), torch.arange(64.0)) / 64

IMAGES = {
    "image_normalised": of_faces(_FromPixels, stem, pooled, pixels=True),
    "image_gray": of_faces(lambda: Formula(_gray_from_pixels), stem, pooled, pixels=True),
    "image_per_image": _front(_per_image),
    "image_local_contrast": _front(_local_contrast),
    "image_sobel_angle": _front(_sobel),
    "image_haar": of_faces(lambda: Formula(_haar), partial(conv, 12, 24, 3, 2), partial(conv, 24, WIDTH, 3, 2), pooled),
    "image_dct": of_faces(lambda: Formula(_dct, nn.Parameter(_cosines(8), False)), partial(conv, 64, WIDTH), pooled),
    "image_spectrum": _front(_spectrum, _fixed(_ANGLES.cos() / 8), _fixed(_ANGLES.sin() / 8)),
    "image_binary_pattern": _front(_binary_pattern),
    "image_flipped": of_faces(_Flipped),
    "image_crops": of_faces(_Crops),
    "image_unshuffled": of_faces(
        partial(nn.PixelUnshuffle, 4), partial(conv, 48, WIDTH, 3), partial(conv, WIDTH, WIDTH, 3, 2), pooled
    ),
    "image_transformer": of_faces(_Transformer, stem, pooled),
    "image_transformer_nearest": of_faces(
        partial(_Transformer, mode="nearest", padding_mode="reflection"), stem, pooled
    ),
    "map_deformed": _inside(_Deformed),
    "map_bilinear_corners": _inside(partial(_Topdown, size=(8, 8), mode="bilinear", align_corners=True)),
    "map_bicubic": _inside(partial(_Topdown, scale_factor=2, mode="bicubic", align_corners=False)),
    "map_resized_oddly": _inside(partial(nn.Upsample, (11, 5), mode="bilinear", align_corners=False)),
    "map_antialiased": of_faces(
        partial(stem, 16),
        lambda: Formula(lambda x: functional.interpolate(x, (7, 7), mode="bilinear", antialias=True)),
        partial(conv, WIDTH, WIDTH, 1),
        pooled,
    ),
    "map_pixel_shuffle": _inside(
        partial(_Enlarged, lambda: nn.Sequential(nn.Conv2d(WIDTH, 4 * WIDTH, 1), nn.PixelShuffle(2)))
    ),
    "map_transposed": _inside(partial(_Enlarged, lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 3, 2, 1, 1))),
    "map_carafe": _inside(partial(_Enlarged, _Carafe)),
    "map_involution": _inside(_Involution),
    "map_dynamic_convolution": _inside(_Mixture),
    "map_channel_shuffle": _inside(
        lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1, groups=4), Formula(_shuffled), nn.Conv2d(WIDTH, WIDTH, 1))
    ),
    "map_shifted": _inside(lambda: Formula(_shifted)),
    "map_folded": _inside(lambda: Formula(_folded)),
    "map_sliced": _inside(lambda: Formula(_sliced)),
    "map_padded_reflect": _padded("reflect"),
    "map_padded_circular": _padded("circular"),
    "map_padded_constant": _inside(partial(nn.ConstantPad2d, (2, 1, 0, 3), 0.7)),
}
