"""Reading trained networks' checkpoints without PyTorch, and without running anything they hold."""

from edgefer.checkpoint.read import Checkpoint, Module, read_checkpoint
from edgefer.checkpoint.tensor import Tensor
from edgefer.checkpoint.unpickle import Global, Record

__all__ = ["Checkpoint", "Global", "Module", "Record", "Tensor", "read_checkpoint"]
