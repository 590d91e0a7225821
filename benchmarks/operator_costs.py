"""What operators cost in int8 and in float, fitted as straight lines: the constants of `edgefer.quantize.cost`.

    python benchmarks/operator_costs.py

times each operator by itself with LiteRT, in one thread, at the shapes of EfficientNets: about two minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.optimize import nnls

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.cost import node_macs
from edgefer.graph.ir import Graph
from edgefer.plan import Compute, Plan
from edgefer.quantize.cost import CONVERSION, elements, kind
from edgefer.quantize.histogram import Histogram
from edgefer.quantize.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.ranges import affine
from edgefer.runtime import tflite_interpreter

RESULT = Path(__file__).parent / "results" / "operator_costs.json"

FEW, MANY = 1, 4
"""An operator's time is that of so many of them, side by side, less that of so few, by their difference.

Not too many: their results must stay in the cache, as they do in a network."""

ROUNDS = 600

MAPS = ((32, 32), (96, 32), (96, 16), (144, 16), (240, 8), (480, 4), (672, 4), (1152, 2))
"""Channels and size of the feature maps of EfficientNet-B0 at 64 x 64."""

DENSE = (
    *((32, 16, 32), (16, 96, 32), (96, 24, 16), (24, 144, 16), (144, 40, 8), (40, 240, 8), (240, 80, 4), (80, 480, 4)),
    *((480, 112, 4), (672, 192, 2), (192, 1152, 2), (1152, 320, 2), (320, 1280, 2), (1152, 48, 1), (48, 1152, 1)),
)  # fmt: skip
"""Inputs, outputs and size of its 1x1 convolutions."""

Make = Callable[[GraphBuilder, str, str], str]


def main() -> None:
    """Time all operators, fit the lines and write them."""
    rows: dict[tuple[str, Compute], list[tuple[float, float, float, float]]] = {}
    for shape, make in operators():
        few, many = (network(shape, make, copies) for copies in (FEW, MANY))
        node = few.nodes[0]
        plans: dict[Compute, tuple[Plan, Plan]] = {
            "int8": (stored(few), stored(many)),
            "float": (Plan(), Plan()),
        }
        found = times(
            [emit_tflite(graph, plan) for pair in plans.values() for graph, plan in zip((few, many), pair, strict=True)]
        )
        for index, compute in enumerate(plans):
            time = (found[2 * index + 1] - found[2 * index]) / (MANY - FEW)
            rows.setdefault((kind(few, node), compute), []).append((time, 1, elements(few, node), node_macs(few, node)))
            print(f"{kind(few, node):18} {compute:6} {shape} {few.shape(node.output)} {time:8.0f} ns", flush=True)
    for shape in MAPS:
        found = times([emit_tflite(*converting(shape, n, plan)) for plan in (True, False) for n in (FEW, MANY)])
        time = ((found[1] - found[0]) - (found[3] - found[2])) / (MANY - FEW)
        rows.setdefault((CONVERSION, "float"), []).append((time, 1, shape[0] * shape[1] ** 2, 0))
        print(f"{CONVERSION:18} float  {shape} {time:8.0f} ns", flush=True)
    lines = {f"{name}, {compute}": line(found) for (name, compute), found in sorted(rows.items())}
    RESULT.write_text(json.dumps(lines, indent=1) + "\n")
    print(RESULT.read_text())


def operators() -> Iterator[tuple[tuple[int, int], Make]]:
    """Channels and size of an input, and what makes one operator on it."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    for inputs, outputs, size in DENSE:
        yield (
            (inputs, size),
            lambda build, x, name, o=outputs, i=inputs: build.conv(name, x, numbers(o, i, 1, 1), numbers(o)),
        )
    for channels, size in MAPS:
        for taps in (3, 5):
            yield (
                (channels, size),
                lambda build, x, name, c=channels, k=taps: build.conv(
                    name, x, numbers(c, 1, k, k), numbers(c), padding=k // 2, groups=c
                ),
            )
        yield (channels, size), lambda build, x, name: build.sigmoid(name, x)
        yield (channels, size), lambda build, x, name: build.global_average_pool(name, x)
        yield (channels, size), lambda build, x, name: build.mul(name, x, x)
        yield (channels, size), lambda build, x, name: build.add(name, x, x)


def network(shape: tuple[int, int], make: Make, copies: int) -> Graph:
    """Copies of an operator, side by side."""
    build = GraphBuilder("network")
    x = build.input("x", (1, shape[0], shape[1], shape[1]))
    return build.graph(*(make(build, x, f"y{index}") for index in range(copies)))


def stored(graph: Graph) -> Plan:
    """All of it in int8, for inputs and outputs that look normally distributed."""
    histogram = Histogram()
    histogram.add(np.random.default_rng(0).normal(size=1000).astype(np.float32))
    return plan_int8(graph, dict.fromkeys(tensors_to_observe(graph), histogram))


def converting(shape: tuple[int, int], copies: int, is_int8: bool) -> tuple[Graph, Plan]:
    """Inputs, each with a float operator that reads it; they are int8 or float."""
    build = GraphBuilder("network")
    inputs = [build.input(f"x{index}", (1, shape[0], shape[1], shape[1])) for index in range(copies)]
    graph = build.graph(*(build.sigmoid(f"y{index}", x) for index, x in enumerate(inputs)))
    return graph, Plan(dict.fromkeys(inputs, affine(-4, 4)) if is_int8 else {})


def times(models: list[bytes]) -> list[float]:
    """Nanoseconds of an inference of each, the least of many, taken in turns."""
    interpreters = [tflite_interpreter(model) for model in models]
    found = np.full((ROUNDS, len(models)), np.inf)
    for row in found:
        for index, interpreter in enumerate(interpreters):
            start = perf_counter()
            interpreter.invoke()
            row[index] = perf_counter() - start
    return [float(time) for time in 1e9 * found.min(axis=0)]


def line(rows: list[tuple[float, float, float, float]]) -> list[float]:
    """Coefficients, none negative, with the least sum of squared relative errors."""
    times, *_ = table = np.asarray(rows).T
    coefficients, _ = nnls((table[1:] / times).T, np.ones_like(times))
    return [float(f"{number:.3g}") for number in coefficients]


if __name__ == "__main__":
    main()
