import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.passes import normalise
from edgefer.host.directories import cache_directory
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel, Line
from edgefer.quantize.costs.machines import LITERT_X86
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.solve import solver, ways
from edgefer.quantize.solve.size import smallest_size
from edgefer.quantize.solve.solver import Bounds, solve
from edgefer.quantize.solve.ways import with_stored_weights

PLENTY = 1 << 30


def network():
    """Three convolutions with SiLU, the middle one depthwise, a residual block, and a head."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)

    build = GraphBuilder("network")
    x = build.input("image", (1, 3, 12, 12))
    x = build.op("Neg", "preprocess", x)
    x = build.silu("act1", build.conv("stem", x, weights(16, 3, 3, 3), weights(16), padding=1))
    x = build.silu("act2", build.conv("depthwise", x, weights(16, 1, 3, 3), weights(16), padding=1, groups=16))
    shortcut = x = build.conv("project", x, weights(24, 16, 1, 1), weights(24))
    x = build.silu("act3", build.conv("expand", x, weights(48, 24, 1, 1), weights(48)))
    x = build.add("sum", build.conv("back", x, weights(24, 48, 1, 1), weights(24)), shortcut)
    x = build.flatten("flat", build.global_average_pool("pool", x))
    x = build.linear("head", x, weights(5, 24), weights(5))
    return normalise(build.graph(build.op("Neg", "y", x)))


GRAPH = network()
FEEDS = [{"image": np.random.default_rng(seed).normal(size=(1, 3, 12, 12)).astype(np.float32)} for seed in range(6)]
HISTOGRAMS = collect(GRAPH, tensors_to_observe(GRAPH), FEEDS)
PRODUCTS = ("project", "expand", "back", "head")


def plan_of(floats):
    return with_stored_weights(GRAPH, plan_int8(GRAPH, HISTOGRAMS, floats), floats)


def size(graph, plan):
    """Bytes of all constants."""
    widths = {"int4": 0.5, "int8": 1, "int32": 4}
    return sum(
        array.size * (widths[plan.tensors[name].dtype] if name in plan.tensors else 4)
        for name, array in graph.constants.items()
    )


def judge_activations(graph, plan):
    activations = {name: params for name, params in plan.tensors.items() if not graph.is_constant(name)}
    return Sensitivity(GRAPH, ["head"], FEEDS).noise(graph, Plan(activations, plan.nodes)), 0.0


def solved(bounds, judge=judge_activations, **options):
    return solve(GRAPH, plan_of, bounds, Sensitivity(GRAPH, ["head"], FEEDS[:3]), size=size, judge=judge, **options)


def test_the_frontier_starts_with_full_int8_and_loses_noise_as_it_goes():
    solution = solved(Bounds(PLENTY, latency=10))
    first, *others = solution.points
    assert (first.floats, first.int4, first.latency) == ((), (), 1.0)
    assert first.plan == plan_of(frozenset())
    assert len(others) >= 3
    assert others[-1].noise < first.noise / 4
    assert len({point.floats for point in solution.points}) == len(solution.points)


def test_without_a_drop_the_quietest_point_within_the_latency_is_chosen():
    for latency in (1.0, 1.2, 10.0):
        solution = solved(Bounds(PLENTY, latency=latency))
        allowed = [point for point in solution.points if point.latency <= latency]
        assert solution.chosen is min(allowed, key=lambda point: point.noise)


def test_the_fastest_point_that_keeps_the_drop_is_chosen():
    def judge(graph, plan):
        floats = sum(compute == "float" for compute in plan.nodes.values())
        return 0.0, 3.0 if floats < 4 else 0.5

    solution = solved(Bounds(PLENTY, drop=1.0, latency=10), judge)
    keeping = [point for point in solution.points if point.drop <= 1.0]
    assert 0 < len(keeping) < len(solution.points)
    assert solution.chosen.latency == min(point.latency for point in keeping)
    assert solution.drop_over == 0


def test_what_is_chosen_depends_on_what_operators_cost_where_it_is_to_be_fast():
    lines = {(kind, compute): Line(1, 0, 0) for kind, compute in LITERT_X86.lines}
    free = CostModel("a board", "ns", lines, Line(1e-6, 0, 0))
    solution = solved(Bounds(PLENTY, latency=1.001), costs=free)
    assert solution.chosen.noise < solved(Bounds(PLENTY, latency=1.001)).chosen.noise / 4
    assert solution.to_dict()["costs_of"] == "a board"


def test_what_a_cost_model_overstates_is_taken_off():
    points = solved(Bounds(PLENTY, latency=10)).points
    plain = solved(Bounds(PLENTY, latency=100), costs=replace(LITERT_X86, overstates=1.0)).points
    said = {point.floats: point.latency for point in plain}
    assert len(points) > 3
    for point in points:
        assert (point.latency - 1) * LITERT_X86.overstates == pytest.approx(said[point.floats] - 1)


def test_a_drop_that_cannot_be_kept_is_missed_by_as_little_as_can_be_and_told():
    solution = solved(Bounds(PLENTY, drop=1.0, latency=10), lambda graph, plan: (0.0, 5 - 0.01 * len(plan.tensors)))
    assert solution.chosen.drop == min(point.drop for point in solution.points)
    assert solution.drop_over == solution.chosen.drop - 1.0
    assert solution.bytes_over == 0


def test_a_budget_that_int8_keeps_costs_no_bits():
    assert solved(Bounds(size(GRAPH, plan_of(frozenset()))), mixed=False).chosen.int4 == ()


def test_no_more_layers_than_the_budget_demands_have_int4_weights_the_quietest_first():
    full = size(GRAPH, plan_of(frozenset()))
    total = sum(GRAPH.constants[f"{name}.weight"].size // 2 for name in PRODUCTS)
    everything = solved(Bounds(full - total), mixed=False).chosen.int4
    assert set(everything) == set(PRODUCTS)
    saved = 0
    for count, name in enumerate(everything):
        saved += GRAPH.constants[f"{name}.weight"].size // 2
        for short in (1, 0):
            solution = solved(Bounds(full - saved + short), mixed=False)
            assert solution.chosen.int4 == everything[: count + 1]
            assert solution.bytes_over == 0
    assert solved(Bounds(full - saved - 1), mixed=False).bytes_over == 1


def test_no_layer_has_four_bits_that_the_others_make_needless(monkeypatch):
    """Small ones are taken first here, and given back where a large one saves enough by itself."""
    monkeypatch.setattr(solver.Noises, "of_int4", {"head": 0, "project": 1, "expand": 9e9, "back": 9e9})
    full = size(GRAPH, plan_of(frozenset()))
    sizes = {name: GRAPH.constants[f"{name}.weight"].size // 2 for name in PRODUCTS}
    for needed in range(1, sum(sizes.values()) + 1, 29):
        chosen = solved(Bounds(full - needed), mixed=False).chosen.int4
        saved = sum(sizes[name] for name in chosen)
        assert saved >= needed
        assert all(saved - sizes[name] < needed for name in chosen)


def test_nothing_is_measured_for_a_budget_that_four_bits_cannot_keep(monkeypatch):
    monkeypatch.setattr(solver.Noises, "of_int4", property(lambda _: pytest.fail("noises are measured")))
    assert set(solved(Bounds(100), mixed=False).chosen.int4) == set(PRODUCTS)


def test_the_smallest_size_is_known_before_anything_is_run():
    full = size(GRAPH, plan_of(frozenset()))
    saved = sum(GRAPH.constants[f"{name}.weight"].size // 2 for name in PRODUCTS)
    assert smallest_size(GRAPH, frozenset(), size, full) == full
    assert smallest_size(GRAPH, frozenset(), size, full - 1) == full - saved


def test_a_budget_that_cannot_be_kept_is_told_by_how_much():
    solution = solved(Bounds(100))
    assert solution.bytes_over == solution.chosen.bytes - 100
    assert solution.chosen.bytes == min(point.bytes for point in solution.points)


def test_units_in_float_keep_their_weights_in_int8_and_store_nothing_between():
    quiet = solved(Bounds(PLENTY, latency=10)).points[-1].plan
    floats = {name for name, compute in quiet.nodes.items() if compute == "float"}
    for name in floats:
        node = GRAPH.named[name]
        if node.op in ("Conv", "Gemm"):
            assert quiet.tensors[node.inputs[1]].dtype == "int8"
            assert node.inputs[2] not in quiet.tensors
    assert {"stem", "act1", "depthwise", "act2"}.isdisjoint(quiet.tensors)


def test_equal_questions_have_equal_answers():
    first, second = (solved(Bounds(PLENTY, latency=1.3)) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert first.chosen.plan == second.chosen.plan


def test_a_solution_is_plain_data_with_its_choice_marked():
    solution = solved(Bounds(PLENTY))
    points = json.loads(json.dumps(solution.to_dict()))["points"]
    (chosen,) = (point for point in points if point["chosen"])
    assert chosen["float"] == list(solution.chosen.floats)
    assert {"bytes", "sqnr_db", "drop", "latency", "int4"} <= chosen.keys()


def test_the_graph_is_finished_for_each_plan_before_it_is_judged():
    judged = []
    changed = GRAPH.with_constants({"head.bias": np.zeros(5, np.float32)})

    def judge(graph, plan):
        judged.append((graph, plan))
        return 0.0, 0.0

    solution = solved(Bounds(PLENTY), judge, finish=lambda graph, plan: (changed, Plan()))
    points = solution.points
    assert judged == [(changed, Plan())] * len(points)
    assert solution.graph is changed
    assert all(point.plan == Plan() for point in points)


def test_noises_are_measured_once_and_again_where_the_cache_is_damaged(monkeypatch):
    calls = []
    real = Sensitivity.noise_of
    monkeypatch.setattr(Sensitivity, "noise_of", lambda self, *args: calls.append(1) or real(self, *args))
    solved(Bounds(PLENTY))
    count = len(calls)
    assert count
    solved(Bounds(PLENTY))
    assert len(calls) == count
    for entry in (cache_directory() / "sensitivity").iterdir():
        entry.write_bytes(b"[1, 2")
    solved(Bounds(PLENTY))
    assert len(calls) == 2 * count


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_no_way_along_the_chain_is_better_than_those_on_its_frontier(seed):
    plan = plan_of(frozenset())
    units = ways.units_of(GRAPH, plan)
    noises = [tuple(pair) for pair in np.random.default_rng(seed).exponential(1e-5, (len(units), 2))]
    chain = ways.Chain(GRAPH, plan, units, noises, LITERT_X86)
    most = 1.5 * chain.full.cost
    frontier = chain.frontier(most)
    all_ways = [ways.Way(0.0, 0.0, ())]
    for states in chain._states:
        all_ways = [chain._onward(way, state) for way in all_ways for state in states]
    assert {*frontier} <= {*all_ways}
    for way in all_ways:
        slack = len(units) * ways._RESOLUTION * chain.full.cost
        if way.cost <= most - slack:
            assert any(better.cost <= way.cost + slack and better.noise <= way.noise for better in frontier)


def test_a_plan_that_stores_nothing_has_nothing_to_choose():
    solution = solve(
        GRAPH,
        lambda floats: Plan(),
        Bounds(PLENTY),
        Sensitivity(GRAPH, ["head"], FEEDS[:1]),
        size=size,
        judge=judge_activations,
    )
    assert [point.floats for point in solution.points] == [()]


@pytest.mark.parametrize("activation", ["Tanh", "Sigmoid"])
def test_what_kernels_prescribe_the_scale_of_may_be_made_in_float(activation):
    rng = np.random.default_rng(1)
    build = GraphBuilder("network")
    x = build.input("image", (1, 3, 12, 12))
    for index in range(4):
        weights = (rng.normal(size=(8, 3 if index == 0 else 8, 3, 3)) / 4).astype(np.float32)
        x = build.op(activation, f"act{index}", build.conv(f"conv{index}", x, weights, np.zeros(8, np.float32)))
    x = build.flatten("flat", build.global_average_pool("pool", x))
    graph = normalise(build.graph(build.linear("head", x, rng.normal(size=(5, 8)).astype(np.float32))))
    histograms = collect(graph, tensors_to_observe(graph), FEEDS)
    solution = solve(
        graph,
        lambda floats: with_stored_weights(graph, plan_int8(graph, histograms, floats), floats),
        Bounds(PLENTY),
        Sensitivity(graph, ["head"], FEEDS[:3]),
        size=lambda graph, plan: 1,
        judge=lambda graph, plan: (Sensitivity(graph, ["head"], FEEDS).noise(graph, plan), 0.0),
    )
    assert len(solution.points) > 2
    assert solution.chosen.noise < solution.points[0].noise
