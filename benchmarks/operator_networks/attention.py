"""Attention: between channels, between places, and as transformers have it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operator_networks.parts import CLASSES, WIDTH, Formula, Layer, conv, of_faces, pooled, stem, tokens
from benchmarks.published_networks import Published

HEADS = 4
_PLACES = 16


class _SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(WIDTH, 8, 1), nn.ReLU(), nn.Conv2d(8, WIDTH, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x)


class _Cbam(nn.Module):
    """Woo et al. 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, WIDTH))
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        mean = functional.avg_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3))).flatten(1)
        most = functional.max_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3))).flatten(1)
        x = x * torch.sigmoid(self.mlp(mean) + self.mlp(most)).unsqueeze(2).unsqueeze(3).expand_as(x)
        both = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.norm(self.conv(both)))


class _Coordinate(nn.Module):
    """Hou et al. 2021."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(WIDTH, 8, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.rows, self.columns = nn.Conv2d(8, WIDTH, 1), nn.Conv2d(8, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = nn.functional.adaptive_avg_pool2d(x, (height, 1))
        columns = nn.functional.adaptive_avg_pool2d(x, (1, width)).permute(0, 1, 3, 2)
        rows, columns = torch.split(self.shared(torch.cat([rows, columns], dim=2)), [height, width], dim=2)
        return x * self.rows(rows).sigmoid() * self.columns(columns.permute(0, 1, 3, 2)).sigmoid()


def _eca(layer: nn.Module, x: Tensor) -> Tensor:
    means = nn.functional.adaptive_avg_pool2d(x, 1)
    gates = layer(means.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
    return x * torch.sigmoid(gates).expand_as(x)


class _NonLocal(nn.Module):
    """Wang et al. 2018, embedded Gaussian, keys of a pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.back = nn.Conv2d(WIDTH, 16, 1), nn.Sequential(nn.Conv2d(16, WIDTH, 1), nn.BatchNorm2d(WIDTH))
        self.keys = nn.Sequential(nn.Conv2d(WIDTH, 16, 1), nn.MaxPool2d(2))
        self.values = nn.Sequential(nn.Conv2d(WIDTH, 16, 1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        values = self.values(x).view(batch, 16, -1).permute(0, 2, 1)
        queries = self.queries(x).view(batch, 16, -1).permute(0, 2, 1)
        shares = functional.softmax(torch.matmul(queries, self.keys(x).view(batch, 16, -1)), dim=-1)
        found = torch.matmul(shares, values).permute(0, 2, 1).contiguous().view(batch, 16, *x.size()[2:])
        return self.back(found) + x


class _Attention(nn.Module):
    """Tokens (N, 16, WIDTH) attend to each other, the scores as a subclass or function says."""

    def __init__(self, mix: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.places = nn.Parameter(torch.randn(1, _PLACES, WIDTH) * 0.1)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, WIDTH))
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        x = tokens(x) + self.places
        batch, count, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, count, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        x = x + self.out(self.mix(q, k, v).transpose(1, 2).reshape(batch, count, width))
        x = x + self.mlp(x)
        return self.last(x).mean(1)


def _big_negative(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    mask = torch.tril(torch.ones(_PLACES, _PLACES))
    scores = scores * mask - 1e9 * (1 - mask)
    return torch.einsum("bhij,bhjd->bhid", torch.softmax(scores, dim=-1), v)


def _lower(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal without a softmax: what comes later is cut off."""
    return torch.tril(q @ k.transpose(-2, -1) / _PLACES) @ v


def _sdpa_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = torch.ones(_PLACES, _PLACES, dtype=torch.bool).tril(3)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _rotated(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    angles = torch.arange(_PLACES)[:, None] / 100 ** (torch.arange(half) / half)
    sines, cosines = angles.sin(), angles.cos()
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], -1)


def _rotary(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(_rotated(q), _rotated(k), v)


def _linear_elu(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k = functional.elu(q) + 1, functional.elu(k) + 1
    norm = 1 / (torch.einsum("bhnd,bhd->bhn", q, k.sum(2)) + 1e-6)
    return torch.einsum("bhnd,bhde,bhn->bhne", q, torch.einsum("bhnd,bhne->bhde", k, v), norm)


def _linear_relu(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """EfficientViT: a column of ones sums the weights."""
    q, k = q.relu(), k.relu()
    found = q @ (k.transpose(-1, -2) @ functional.pad(v, (0, 1), value=1.0))
    return found[..., :-1] / (found[..., -1:] + 1e-5)


def _sparse(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Only the four largest scores of a query count."""
    scores = q @ k.transpose(-2, -1) / 3
    least = torch.topk(scores, 4, dim=-1)[0][..., -1:]
    return torch.where(scores < least, torch.full_like(scores, float("-inf")), scores).softmax(-1) @ v


class _Cosine(nn.Module):
    """Swin V2: q and k of length one, a bounded scale, and a bias by relative position."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.log(10 * torch.ones(HEADS, 1, 1)))
        self.table = nn.Parameter(torch.randn(49, HEADS) * 0.3)
        places = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        away = (places[:, :, None] - places[:, None, :]) + 3
        self.register_buffer("index", (away[0] * 7 + away[1]).flatten())

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        scores = scores * torch.clamp(self.scale, max=torch.log(torch.tensor(100.0))).exp()
        bias = self.table[self.index].view(_PLACES, _PLACES, -1).permute(2, 0, 1).contiguous()
        return (scores + 16 * torch.sigmoid(bias).unsqueeze(0)).softmax(-1) @ v


class _Talking(nn.Module):
    """Scores mixed between heads, before and after the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(HEADS, HEADS, 1), nn.Conv2d(HEADS, HEADS, 1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.after(self.before(q @ k.transpose(-1, -2) / 3).softmax(-1)) @ v


class _Linformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shorten = nn.Parameter(torch.randn(_PLACES, 4) / 4)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (torch.einsum("bhnd,nk->bhkd", each, self.shorten) for each in (k, v))
        return torch.einsum("bhnk,bhkd->bhnd", (torch.einsum("bhnd,bhkd->bhnk", q, k) / 3).softmax(-1), v)


class _RelativeRows(nn.Module):
    """BoTNet: what a query makes of rows and columns, by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = (nn.Parameter(torch.randn(4, WIDTH // HEADS) * 0.3) for _ in range(2))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        map_of = q.unflatten(2, (4, 4))
        rows = torch.einsum("bhxyd,id->bhxyi", map_of, self.rows).flatten(2, 3).repeat_interleave(4, -1)
        columns = torch.einsum("bhxyd,jd->bhxyj", map_of, self.columns).flatten(2, 3).repeat(1, 1, 1, 4)
        return (q @ k.mT / 3 + rows + columns).softmax(-1) @ v


class _Windows(nn.Module):
    """Swin: windows of 4x4 in a map of 8x8 that is rolled by two, with a mask between what was apart."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        regions = torch.zeros(1, 8, 8, 1)
        for count, (rows, columns) in enumerate(
            (rows, columns)
            for rows in (slice(0, -4), slice(-4, -2), slice(-2, None))
            for columns in (slice(0, -4), slice(-4, -2), slice(-2, None))
        ):
            regions[:, rows, columns, :] = count
        windows = self._parted(regions).squeeze(-1)
        apart = windows.unsqueeze(1) - windows.unsqueeze(2)
        self.register_buffer("mask", apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0))

    @staticmethod
    def _parted(x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        parted = x.view(batch, height // 4, 4, width // 4, 4, channels)
        return parted.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 16, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        windows = self._parted(torch.roll(self.norm(x), shifts=(-2, -2), dims=(1, 2)))
        count = windows.shape[0]
        q, k, v = self.qkv(windows).reshape(count, 16, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q * 0.35 @ k.transpose(-2, -1)
        scores = scores.view(count // 4, 4, HEADS, 16, 16) + self.mask.unsqueeze(1).unsqueeze(0)
        found = (scores.view(-1, HEADS, 16, 16).softmax(-1) @ v).transpose(1, 2).reshape(count, 16, WIDTH)
        whole = self.out(found).view(-1, 2, 2, 4, 4, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, WIDTH)
        return (x + torch.roll(whole, shifts=(2, 2), dims=(1, 2))).permute(0, 3, 1, 2)


class _ClassToken(nn.Module):
    """A vision transformer's: prepended, attended by torch's own layer, read at the end."""

    def __init__(self, pre: bool, activation: str) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.1)
        self.places = nn.Parameter(torch.randn(1, _PLACES + 1, WIDTH) * 0.1)
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 64, 0.1, activation=activation, batch_first=True, norm_first=pre
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens(x)], 1) + self.places
        return self.layer(x)[:, 0]


class _Queries(nn.Module):
    """Learned queries that attend to the map by nn.MultiheadAttention, as in DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 4, WIDTH))
        self.cross = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        places = tokens(x)
        queries = self.queries.repeat(x.shape[0], 1, 1)
        found, weights = self.cross(queries, places, places)
        return torch.cat([self.norm(queries + found).flatten(1), weights.flatten(1)], 1)


class _Decoder(nn.Module):
    """A layer of torch's decoder over learned queries, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Embedding(CLASSES, WIDTH)
        self.layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 64, activation="gelu")
        self.read = nn.Parameter(torch.randn(CLASSES, WIDTH) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        memory = x.flatten(2).permute(2, 0, 1)
        found = self.layer(self.queries.weight.unsqueeze(1).repeat(1, x.shape[0], 1), memory)
        return (found.transpose(0, 1) * self.read).sum(-1)


class _Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.places = nn.Sequential(nn.Linear(_PLACES, 32), nn.GELU(approximate="tanh"), nn.Linear(32, _PLACES))
        self.channels = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(approximate="tanh"), nn.Linear(64, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = tokens(x)
        x = x + self.places(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return (x + self.channels(self.norms[1](x))).mean(1)


class _Gated(nn.Module):
    """Ilse et al. 2018: attention over places by tanh and sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.tanh, self.sigmoid, self.score = nn.Linear(WIDTH, 16), nn.Linear(WIDTH, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = tokens(x)
        scores = self.score(torch.tanh(self.tanh(places)) * torch.sigmoid(self.sigmoid(places)))
        return torch.bmm(functional.softmax(scores.transpose(2, 1), dim=2), places).squeeze(1)


class _SwiGlu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.both, self.down = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 96, bias=False), nn.Linear(48, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = tokens(x)
        gate, value = self.both(self.norm(x)).split(48, dim=-1)
        return (x + self.down(functional.silu(gate) * value)).mean(1)


def _axial(rows: nn.Module, columns: nn.Module, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    by_row = x.permute(0, 2, 3, 1).reshape(batch * height, width, channels)
    x = x + rows(by_row, by_row, by_row, need_weights=False)[0].reshape(batch, height, width, -1).permute(0, 3, 1, 2)
    by_column = x.permute(0, 3, 2, 1).reshape(batch * width, height, channels)
    found = columns(by_column, by_column, by_column, need_weights=False)[0]
    return x + found.reshape(batch, width, height, -1).permute(0, 3, 2, 1)


def _fc(width: int = WIDTH) -> Layer:
    return lambda: nn.Linear(width, CLASSES)


def _gate(make: Layer) -> Published:
    return of_faces(stem, make, partial(conv, WIDTH, WIDTH, 1), pooled)


def _scores(mix: Callable[..., Tensor] | type[nn.Module]) -> Published:
    """Attention whose scores are a function of q, k, v, or a module made anew."""
    return of_faces(partial(stem, 4), lambda: _Attention(mix() if isinstance(mix, type) else mix), _fc())


def _mha() -> nn.Module:
    return nn.MultiheadAttention(WIDTH, 2, batch_first=True)


ATTENTION = {
    "attention_se_hardsigmoid": _gate(_SqueezeExcite),
    "attention_cbam": _gate(_Cbam),
    "attention_coordinate": _gate(_Coordinate),
    "attention_eca": _gate(lambda: Formula(_eca, nn.Conv1d(1, 1, 3, padding=1, bias=False))),
    "attention_non_local": _gate(_NonLocal),
    "attention_windows_rolled": _gate(_Windows),
    "attention_axial": _gate(lambda: Formula(_axial, _mha(), _mha())),
    "attention_big_negative": _scores(_big_negative),
    "attention_lower": _scores(_lower),
    "attention_sdpa_mask": _scores(_sdpa_mask),
    "attention_rotary": _scores(_rotary),
    "attention_cosine_bias": _scores(_Cosine),
    "attention_talking": _scores(_Talking),
    "attention_relative_rows": _scores(_RelativeRows),
    "attention_sparse": _scores(_sparse),
    "attention_linear_elu": _scores(_linear_elu),
    "attention_linear_relu": _scores(_linear_relu),
    "attention_linformer": _scores(_Linformer),
    "attention_class_token_post": of_faces(partial(stem, 4), partial(_ClassToken, False, "relu"), _fc()),
    "attention_class_token_pre": of_faces(partial(stem, 4), partial(_ClassToken, True, "gelu"), _fc()),
    "attention_queries": of_faces(partial(stem, 4), _Queries, _fc(4 * WIDTH + 64)),
    "attention_decoder": of_faces(partial(stem, 4), _Decoder),
    "attention_mixer": of_faces(partial(stem, 4), _Mixer, _fc()),
    "attention_gated_places": of_faces(stem, _Gated, _fc()),
    "attention_swiglu": of_faces(partial(stem, 4), _SwiGlu, _fc()),
}
