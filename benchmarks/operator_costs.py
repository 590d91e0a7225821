"""What operators cost in int8 and in float: the cost models in `edgefer/quantize/costs/data/`.

    python benchmarks/operator_costs.py x86     nanoseconds on this machine, operator by operator, in one thread
    python benchmarks/operator_costs.py pi4     instructions on an emulated Cortex-A72
    python benchmarks/operator_costs.py pi5     instructions on an emulated Cortex-A76

each takes about two minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from edgefer import board
from edgefer.device import Session, find_device
from edgefer.device.operator_costs import operator_costs
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.probes import measured_costs
from edgefer.runtime.runners import tflite_interpreter

DATA = Path(__file__).resolve().parents[1] / "edgefer" / "quantize" / "costs" / "data"
MACHINES = {
    "x86": "an x86 server with AVX-512 VNNI",
    "pi4": "an emulated Cortex-A72, as in a Raspberry Pi 4",
    "pi5": "an emulated Cortex-A76, as in a Raspberry Pi 5",
}
CPUS = {"pi4": "cortex-a72", "pi5": "cortex-a76"}
ROUNDS = 600


def main() -> None:
    """Measure all operators, fit the lines and write them."""
    name = sys.argv[1]
    costs = on_board(name) if name in CPUS else measured_costs(MACHINES[name], "ns", lambda g: list(map(times, g)))
    (DATA / f"{name}.json").write_text(json.dumps(costs.to_dict(), indent=1) + "\n")
    print((DATA / f"{name}.json").read_text())


def on_board(name: str) -> CostModel:
    """Instructions, on an emulated board of its own."""
    there = board.up(CPUS[name], f"costs-{name}")
    try:
        with Session(find_device(there.name)) as session:
            return operator_costs(session, MACHINES[name], True, lambda *_: None)
    finally:
        board.down(there.name)


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
