"""Operators of any opset, restated in those of `OPSET`: one function for each meaning that one has had."""

from edgefer.onnx_import.restate import (  # noqa: F401  (they register what they restate)
    arithmetic,
    axes,
    nonlinear,
    normalisation,
    padding,
    pools,
    recurrent,
    resizing,
    sampling,
)
from edgefer.onnx_import.restate.restatements import function_of, restatement

__all__ = ["function_of", "restatement"]
