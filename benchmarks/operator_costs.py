"""What operators cost in int8 and in float, fitted as straight lines: the constants of `edgefer.quantize.cost`.

    python benchmarks/operator_costs.py

times each operator by itself with LiteRT, in one thread, at the shapes of EfficientNets: about two minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

import numpy as np
from scipy.optimize import nnls

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.ir import Graph
from edgefer.plan import Compute, Plan, QuantParams
from edgefer.quantize.cost import kind, work
from edgefer.quantize.operators import FIXED_OUTPUT
from edgefer.quantize.ranges import per_channel_symmetric
from edgefer.runtime import tflite_interpreter

RESULT = Path(__file__).parent / "results" / "operator_costs.json"

FEW, MANY = 2, 10
"""An operator's time is that of so many of them, less that of so few, by their difference."""

ROUNDS = 150
ACTIVATION = QuantParams("int8", (0.05,), (0,))

MAPS = ((32, 32), (96, 32), (96, 16), (144, 16), (240, 8), (480, 4), (672, 4), (1152, 2))
"""Channels and size of the feature maps of EfficientNet-B0 at 64 x 64."""

Operator: TypeAlias = Callable[[GraphBuilder, str, str], str]


def main() -> None:
    """Time all operators and write the fitted constants."""
    rows = [row for graph, copies in measured() for row in timed(graph, copies)]
    table = {f"{name} {compute}": fitted(rows, name, compute) for name, compute in sorted({row[:2] for row in rows})}
    RESULT.write_text(json.dumps({"schema": "edgefer.operator_costs/1", "nanoseconds": table}, indent=1) + "\n")
    print(RESULT.read_text())


def measured() -> list[tuple[str, Callable[[int], Graph]]]:
    """Networks of any number of copies of an operator, by kind."""
    rng = np.random.default_rng(0)
