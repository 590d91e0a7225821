"""A network's tensors as a converter takes them: as float32, each checked, and none forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgefer.checkpoint.choose import is_foreign
from edgefer.checkpoint.tensor import Tensor
from edgefer.errors import InputError
from edgefer.graph.ir import Array


class Weights:
    """Tensors by name.

    Attributes:
        path: the file that they lie in.
        tensors: all of them.
        left: names of those that were not taken yet.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor], remedy: str) -> None:
        """`remedy` tells the user what is supported."""
        self.path = path
        self.tensors = tensors
        self.left = {name for name in tensors if not name.endswith(".num_batches_tracked")}
        self._remedy = remedy

    @property
    def taken(self) -> dict[str, Tensor]:
        """Those that were."""
        return {name: self.tensors[name] for name in self.tensors if name not in self.left}

    def take(self, name: str, *shape: int | None) -> Array:
        """The tensor `name` as float32, of `shape`, where None stands for any size.

        Raises:
            InputError: it is missing, damaged, not finite or of another shape.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise InputError(f"{self.path}: tensor {name} is missing", remedy=self._remedy)
        if len(tensor.shape) != len(shape) or any(
            want not in (None, got) or got == 0 for want, got in zip(shape, tensor.shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise InputError(
                f"{self.path}: tensor {name} has shape {list(tensor.shape)} instead of [{wanted}]",
                remedy=self._remedy,
            )
        array = tensor.array().astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise InputError(
                f"{self.path}: tensor {name} holds values that are not finite",
                remedy="The training diverged, or the file is damaged: bring another checkpoint.",
            )
        self.left.discard(name)
        return array

    def left_out(self, what: str) -> list[str]:
        """Tensors that were not taken, and whose names say that they are no part of `what`.

        Raises:
            InputError: others were not taken: they would belong to a part of the network that was not built.
        """
        own = sorted(name for name in self.left if not is_foreign(name))
        if own:
            first, *others = own
            more = f" (and {len(others)} more)" if others else ""
            raise InputError(f"{self.path}: tensor {first}{more} has no place in {what}", remedy=self._remedy)
        return sorted(self.left)
