"""What operators cost in int8 and in float on this machine: `LITERT_X86` of `edgefer.quantize.solve.cost`.

    python benchmarks/operator_costs.py

times each operator by itself with LiteRT, in one thread: about two minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from edgefer.quantize.solve.probes import measured_costs
from edgefer.runtime.runners import tflite_interpreter

RESULT = Path(__file__).parent / "results" / "operator_costs.json"
ROUNDS = 600


def main() -> None:
    """Time all operators, fit the lines and write them."""
    costs = measured_costs("this machine", "ns", lambda groups: list(map(times, groups)))
    RESULT.write_text(json.dumps(costs.to_dict(), indent=1) + "\n")
    print(RESULT.read_text())


def times(models: Sequence[bytes]) -> list[float]:
    """Nanoseconds of an inference of each, the least of many, taken in turns."""
    interpreters = [tflite_interpreter(model) for model in models]
    found = np.full((ROUNDS, len(models)), np.inf)
    for row in found:
        for index, interpreter in enumerate(interpreters):
            start = perf_counter_ns()
            interpreter.invoke()
            row[index] = perf_counter_ns() - start
    return list(map(float, found.min(axis=0)))


if __name__ == "__main__":
    main()
