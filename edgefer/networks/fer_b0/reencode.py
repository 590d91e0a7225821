"""Makes `fer_b0.safetensors` from the checkpoint that training left.

    python -m benchmarks.train_fer RUN
    python edgefer/networks/fer_b0/reencode.py RUN/network.pt

Weights of convolutions and of the classifier are rounded to half precision; batch norms and biases, which
are few, stay as they are.  Batch counters, which inference does not use, are left out, and so are the rows of the
classifier that predict votes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from edgefer.checkpoint import read_checkpoint
from edgefer.graph.ir import Array


def reencode(checkpoint: Path, target: Path) -> None:
    """Write the tensors of `checkpoint` to `target`; equal inputs give equal bytes."""
    source = read_checkpoint(checkpoint)
    classes = len(source.fields["label_names"])
    tensors = {
        name: _rounded(tensor.array()[:classes] if name.startswith("classifier.") else tensor.array())
        for name, tensor in source.tensors.items()
        if not name.endswith(".num_batches_tracked")
    }
    save_file(tensors, target, {"arch": str(source.fields["arch"])})


def _rounded(array: Array) -> Array:
    return array.astype(np.float16) if array.ndim >= 2 else array.astype(np.float32)


if __name__ == "__main__":
    reencode(Path(sys.argv[1]), Path(__file__).with_name("fer_b0.safetensors"))
