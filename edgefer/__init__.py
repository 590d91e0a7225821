"""Put a trained facial-expression network on phones and ARM boards.

import edgefer

bundle = edgefer.convert("model.onnx", calibration="faces/")
model = edgefer.load(bundle.path)
print(model(image)["expression"].top)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgefer.benchmarking import benchmark
    from edgefer.bundle import Artifact, Bundle
    from edgefer.conversion import convert
    from edgefer.device.results import Benchmark
    from edgefer.errors import EdgeferError, InputError, UnsupportedOperatorError, UsageError
    from edgefer.evaluation import Evaluation, evaluate
    from edgefer.gates import Check, check
    from edgefer.model import HeadResult, Model, load
    from edgefer.packaging.build import Package, package
    from edgefer.packaging.verification import Verification, verify
    from edgefer.plan import Plan, QuantParams
    from edgefer.spec import InputSpec, OutputSpec, Spec

__all__ = [
    "Artifact",
    "Benchmark",
    "Bundle",
    "Check",
    "EdgeferError",
    "Evaluation",
    "HeadResult",
    "InputError",
    "InputSpec",
    "Model",
    "OutputSpec",
    "Package",
    "Plan",
    "QuantParams",
    "Spec",
    "UnsupportedOperatorError",
    "UsageError",
    "Verification",
    "benchmark",
    "check",
    "convert",
    "evaluate",
    "load",
    "package",
    "verify",
]

_MODULES = {
    "edgefer.benchmarking": ("benchmark",),
    "edgefer.bundle": ("Artifact", "Bundle"),
    "edgefer.conversion": ("convert",),
    "edgefer.device.results": ("Benchmark",),
    "edgefer.errors": ("EdgeferError", "InputError", "UnsupportedOperatorError", "UsageError"),
    "edgefer.evaluation": ("Evaluation", "evaluate"),
    "edgefer.gates": ("Check", "check"),
    "edgefer.model": ("HeadResult", "Model", "load"),
    "edgefer.packaging.build": ("Package", "package"),
    "edgefer.packaging.verification": ("Verification", "verify"),
    "edgefer.plan": ("Plan", "QuantParams"),
    "edgefer.spec": ("InputSpec", "OutputSpec", "Spec"),
}


# ONNX Runtime reports each session, with names and hashes of the model, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `edgefer --help` does not wait for the runtimes."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'edgefer' has no attribute {name!r}")
