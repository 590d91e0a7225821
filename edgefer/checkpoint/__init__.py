"""Reading trained networks' checkpoints without PyTorch, and without running anything they hold."""

from edgefer.checkpoint.choose import Checkpoint, is_foreign
from edgefer.checkpoint.contents import Module
from edgefer.checkpoint.read import read_checkpoint, tensor_names
from edgefer.checkpoint.tensor import Tensor
from edgefer.checkpoint.unpickle import Global, Record
from edgefer.checkpoint.weights import Weights

__all__ = [
    "Checkpoint",
    "Global",
    "Module",
    "Record",
    "Tensor",
    "Weights",
    "is_foreign",
    "read_checkpoint",
    "tensor_names",
]
