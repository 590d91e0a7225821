"""Put a trained facial-expression network on phones and ARM boards.

import edgefer

bundle = edgefer.convert("model.onnx", calibration="faces/")
model = edgefer.load(bundle.path)
print(model(image)["expression"].top)
"""

from edgefer.bundle import Artifact, Bundle
from edgefer.convert import convert
from edgefer.errors import BoundError, EdgeferError, InputError, UnsupportedOperatorError, UsageError
from edgefer.model import HeadResult, Model, load
from edgefer.plan import Plan, QuantParams
from edgefer.spec import InputSpec, OutputSpec, Spec

__all__ = [
    "Artifact",
    "BoundError",
    "Bundle",
    "EdgeferError",
    "HeadResult",
    "InputError",
    "InputSpec",
    "Model",
    "OutputSpec",
    "Plan",
    "QuantParams",
    "Spec",
    "UnsupportedOperatorError",
    "UsageError",
    "convert",
    "load",
]
