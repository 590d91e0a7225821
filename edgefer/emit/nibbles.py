"""Two int4 numbers in a byte, the first in the low half: how both formats store them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array


def packed_int4(integers: Array) -> npt.NDArray[np.uint8]:
    """Integers in [-8, 7], an even number of them in any shape, in half as many bytes, in C order."""
    nibbles = integers.reshape(-1, 2).astype(np.uint8) & 0xF
    packed: npt.NDArray[np.uint8] = np.bitwise_or(nibbles[:, 0], nibbles[:, 1] << 4)
    return packed


INT4_PAIRS = np.stack([np.arange(256) % 16, np.arange(256) // 16], axis=1).astype(np.int8)
"""For each byte, the two numbers in it, int8 (256, 2)."""

INT4_PAIRS[INT4_PAIRS > 7] -= 16
