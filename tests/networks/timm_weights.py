"""State dicts of timm's EfficientNets, of the right names and shapes and of seeded numbers."""

import numpy as np

SCALES = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2)}
"""Width and depth."""

STAGES = ((3, 1, 16, 1), (3, 6, 24, 2), (5, 6, 40, 2), (3, 6, 80, 3), (5, 6, 112, 3), (5, 6, 192, 4), (3, 6, 320, 1))
"""Kernel, expansion, channels, blocks."""


def seeded_efficientnet(size, classes=1000, seed=0):
    """Tensors by timm's names, float32."""
    width, depth = SCALES[size]
    build = _Tensors(seed)
    channels = build.conv_norm("conv_stem", "bn1", _rounded(32 * width), 3, 3)
    for stage, (kernel, expansion, wide, count) in enumerate(STAGES):
        for index in range(int(np.ceil(count * depth))):
            channels = build.block(f"blocks.{stage}.{index}", channels, _rounded(wide * width), kernel, expansion)
    head = build.conv_norm("conv_head", "bn2", _rounded(1280 * width), channels, 1)
    build.linear("classifier", classes, head)
    return build.tensors


def _rounded(channels):
    """The multiple of 8 that is nearest, and not more than a tenth below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class _Tensors:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.tensors = {}

    def add(self, name, array):
        self.tensors[name] = array.astype(np.float32)

    def linear(self, name, *shape):
        self.add(f"{name}.weight", self.rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:])))
        self.add(f"{name}.bias", self.rng.normal(size=shape[0]) / 10)

    def conv_norm(self, conv, norm, outputs, inputs, kernel):
        fan_in = inputs * kernel * kernel
        self.add(f"{conv}.weight", self.rng.normal(size=(outputs, inputs, kernel, kernel)) * np.sqrt(2 / fan_in))
        for part, centre in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.add(f"{norm}.{part}", centre + self.rng.uniform(-0.1, 0.1, outputs))
        return outputs

    def block(self, path, inputs, outputs, kernel, expansion):
        wide, norm = inputs, 1
        if expansion > 1:
            wide = self.conv_norm(f"{path}.conv_pw", f"{path}.bn1", inputs * expansion, inputs, 1)
            norm = 2
        self.conv_norm(f"{path}.conv_dw", f"{path}.bn{norm}", wide, 1, kernel)
        self.linear(f"{path}.se.conv_reduce", inputs // 4, wide, 1, 1)
        self.linear(f"{path}.se.conv_expand", wide, inputs // 4, 1, 1)
        project = "conv_pwl" if expansion > 1 else "conv_pw"
        return self.conv_norm(f"{path}.{project}", f"{path}.bn{norm + 1}", outputs, wide, 1)
