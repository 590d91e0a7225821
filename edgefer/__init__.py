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
    from edgefer.bundle import Artifact, Bundle
    from edgefer.conversion.convert import convert
    from edgefer.device.benchmark import benchmark
    from edgefer.device.results import Benchmark
    from edgefer.errors import EdgeferError, InputError, UnsupportedOperatorError, UsageError
    from edgefer.evaluation.evaluate import evaluate
    from edgefer.evaluation.results import Evaluation
    from edgefer.execution.cluster import cluster
    from edgefer.gates.check import check
    from edgefer.gates.results import Check
    from edgefer.packaging.package import Package, package
    from edgefer.packaging.verify import Verification, verify
    from edgefer.plan import Plan, QuantParams
    from edgefer.runtime.model import HeadResult, Model, load
    from edgefer.spec import InputSpec, OutputSpec, Spec
    from edgefer.sweeping.results import Sweep
    from edgefer.sweeping.sweep import sweep
    from edgefer.timeline.aggregate import Aggregate, aggregate
    from edgefer.timeline.find_policy import policy
    from edgefer.timeline.policy import Policy, read_policy
    from edgefer.timeline.results import Run
    from edgefer.timeline.run import RunOptions, run
    from edgefer.timeline.smoothing import Smoothing

__all__ = [
    "Aggregate",
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
    "Policy",
    "QuantParams",
    "Run",
    "RunOptions",
    "Smoothing",
    "Spec",
    "Sweep",
    "UnsupportedOperatorError",
    "UsageError",
    "Verification",
    "aggregate",
    "benchmark",
    "check",
    "cluster",
    "convert",
    "evaluate",
    "load",
    "package",
    "policy",
    "read_policy",
    "run",
    "sweep",
    "verify",
]

_MODULES = {
    "edgefer.device.benchmark": ("benchmark",),
    "edgefer.bundle": ("Artifact", "Bundle"),
    "edgefer.conversion.convert": ("convert",),
    "edgefer.device.results": ("Benchmark",),
    "edgefer.errors": ("EdgeferError", "InputError", "UnsupportedOperatorError", "UsageError"),
    "edgefer.evaluation.evaluate": ("evaluate",),
    "edgefer.evaluation.results": ("Evaluation",),
    "edgefer.execution.cluster": ("cluster",),
    "edgefer.gates.check": ("check",),
    "edgefer.gates.results": ("Check",),
    "edgefer.runtime.model": ("HeadResult", "Model", "load"),
    "edgefer.packaging.package": ("Package", "package"),
    "edgefer.packaging.verify": ("Verification", "verify"),
    "edgefer.plan": ("Plan", "QuantParams"),
    "edgefer.spec": ("InputSpec", "OutputSpec", "Spec"),
    "edgefer.sweeping.results": ("Sweep",),
    "edgefer.sweeping.sweep": ("sweep",),
    "edgefer.timeline.aggregate": ("Aggregate", "aggregate"),
    "edgefer.timeline.find_policy": ("policy",),
    "edgefer.timeline.policy": ("Policy", "read_policy"),
    "edgefer.timeline.results": ("Run",),
    "edgefer.timeline.run": ("RunOptions", "run"),
    "edgefer.timeline.smoothing": ("Smoothing",),
}


# ONNX Runtime reports each session, with names and hashes of the model, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `edgefer --help` does not wait for the runtimes."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'edgefer' has no attribute {name!r}")
