"""The method, from a float graph, calibration images and bounds to a Plan and the graph that it stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import inf

from edgefer.graph.contract import contract_nodes
from edgefer.graph.ir import Feed, Graph
from edgefer.graph.passes.widen_groups import widen_groups
from edgefer.graph.slopes import with_whole_slopes
from edgefer.graph.subgraph import between
from edgefer.host.memory import holding, release
from edgefer.host.progress import Progress
from edgefer.host.threads import aside
from edgefer.images import CalibrationImages, ImageSet
from edgefer.images.preprocess import iter_feeds
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.evened import even_out
from edgefer.quantize.fit.correct import correct, pieces
from edgefer.quantize.lessons import Effort, Lessons, learned_from, own_answers
from edgefer.quantize.observe import activations as statistics
from edgefer.quantize.observe.drop import Answer
from edgefer.quantize.observe.recorded import fed_with, recorded
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.observe.unusual import UNLIKE, usual_images
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.integer_kernels import slow_in_int8
from edgefer.quantize.scales.ranges import Caution
from edgefer.quantize.solve.beside_float import beside_float, computes_in_float
from edgefer.quantize.solve.caution import cautiously
from edgefer.quantize.solve.last_layers import last_in_float
from edgefer.quantize.solve.size import is_surely_within, sized_plan, smallest_size
from edgefer.quantize.solve.solver import Bounds, Solution, solve
from edgefer.quantize.solve.ways import with_stored_weights
from edgefer.spec import Spec

FITTED_ON = 128
"""At most so many calibration images are run again, to equalise channels and to correct layers."""

MEASURED_ON = 32
"""At most so many calibration images are run for each question that is settled by measurement."""

PLAINLY_ON = 8
"""At most so many of them are run to know what int8 adds to the network as it is."""

JUDGED_ON = 128
"""At most so many held-back images are run to compare Plans, also those of either half of the calibration images."""

ENOUGH = 128
"""Calibration images that show how large values become.

What fewer show beyond a range stands for as many times more that none shows, and counts so often."""

SAME_VERDICT = 2.0
"""Halves of the calibration images agree where the noise with one is at most so many times that with the other,"""

FINE = 3e-3
"""or where it is no more than this with either."""

CHANGED = 0.02
"""Where parts compute in float anyway, further ones do if more than so many answers are expected to change.

Of FER2013's faces, half as many again did."""


@dataclass(frozen=True)
class Quantized:
    """The result of quantization.

    Attributes:
        graph: equal to the float graph but for equalised channels, rounding, and corrected gains and biases.
        plan: how it is stored.
        left_out: numbers that channels which hardly matter had for parameters.
        equalised: names of the SiLU inputs whose channels were equalised.
        learned: steps that weights and biases were learned for.
        halves: noise over signal at the heads, on held-back images, with ranges from either half of the
            calibration images alone; empty where there is but one image.
        solution: what was chosen among, where bounds had to be solved for; None where full int8 keeps them by itself.
    """

    graph: Graph
    plan: Plan
    left_out: int
    equalised: tuple[str, ...]
    learned: int
    halves: tuple[float, ...]
    solution: Solution | None

    @property
    def calibration_suffices(self) -> bool:
        """Whether either half of the calibration images leads to the same verdict."""
        return bool(self.halves) and max(self.halves) <= max(SAME_VERDICT * min(self.halves), FINE)


def quantize(
    graph: Graph,
    heads: Mapping[str, Answer],
    images: CalibrationImages,
    spec: Spec,
    effort: Effort,
    bounds: Bounds,
    size: Callable[[Graph, Plan], int],
    progress: Progress,
    *,
    mixed: bool = False,
    integer_heads: bool = False,
    machines: Sequence[CostModel] = EVERYWHERE,
    lessons: Lessons | None = None,
    shrinks_to: float = inf,
) -> Quantized:
    """Quantize everything that has integer kernels to int8, or as much as the bounds allow.

    Args:
        graph: normalised, pixels in and meanings out.
        heads: the values that noise is measured at, which are the outputs before their activations, and what they
            are read as.
        images: to calibrate on, and held back.
        spec: how they become what the network is fed.
        effort: how much is done to come closer to float; more than `fast` needs the `torch` extra to learn weights.
        bounds: what is to be kept.
        size: bytes of the largest artifact of a graph and its Plan.
        progress: listens to the stages.
        mixed: whether parts may compute in float.
        integer_heads: whether heads stay integers, as accelerators want them, whatever rounding them loses.
        machines: what nodes cost where it is to be fast, first where what computes in float is chosen for.
        lessons: what weights are learned from; by default the calibration images and the graph.
        shrinks_to: the share of full int8 that removing channels may leave; infinite where none may go.
    """
    carrying = between(graph, [state.fed for state in spec.states], [state.returned for state in spec.states])
    if not integer_heads:
        carrying |= slow_in_int8(graph)
    keep_float = contract_nodes(graph) | carrying
    images = replace(
        images,
        calibration=recorded(graph, images.calibration, spec),
        held_back=recorded(graph, images.held_back, spec),
    )
    if bounds.four_bits and (smallest := smallest_size(graph, keep_float, size, bounds.bytes)) > bounds.bytes:
        may_shrink = bounds.bytes >= shrinks_to * size(graph, sized_plan(graph, keep_float))
        progress.note(
            f"no way of storing this network keeps a budget of {bounds.bytes:,} bytes: with four bits wherever kernels "
            f"read them it takes about {smallest:,}; unless enough channels hardly matter, and are left out, "
            f"{'add --shrink, or ' if may_shrink else ''}give a --budget of that size, or a smaller network"
        )
    images = _usual(graph, images, spec, progress)
    feeds = list(iter_feeds(images.calibration.some(FITTED_ON), spec))
    few = feeds[:: max(-(-len(feeds) // MEASURED_ON), 2)]  # and others are left to fit on
    judge = Sensitivity(graph, tuple(heads), list(iter_feeds(images.held_back.some(JUDGED_ON), spec)))
    of_all = judge  # of what was lost before, too
    if lessons is not None and lessons.reference is not graph:
        of_all = Sensitivity(lessons.reference, tuple(heads), judge.feeds)

    def is_small(graph: Graph, plan: Plan) -> bool:
        return is_surely_within(graph, plan, bounds.bytes) or size(graph, plan) <= bounds.bytes

    with progress.stage("equalise"):
        plainly = aside(partial(_plainly, graph, tuple(heads), few[:PLAINLY_ON], keep_float, machines))

        def in_float() -> frozenset[str]:
            """What computes in float from stored weights."""
            return carrying if integer_heads else carrying | plainly.result()[0]

        def stays_small(graph: Graph) -> bool:
            return is_small(graph, sized_plan(graph, keep_float | in_float()))

        evened = even_out(
            graph,
            tuple(heads),
            images.calibration,
            spec,
            feeds,
            few,
            machines,
            lambda: plainly.result()[1],
            bounds.latency,
            stays_small,
            is_thin=lessons is not None,
        )
    beside = carrying
    equalised = with_whole_slopes(evened.graph)
    wide = widen_groups(equalised)
    if wide is not equalised and stays_small(wide):
        equalised = wide
    if evened.left_out:
        progress.detail(f"{evened.left_out:,} parameters, of channels that hardly matter, are left out")
    tensors = tensors_to_observe(equalised, keep_float)

    unseen = max(ENOUGH / len(images.calibration), 1.0)

    def planned(caution: Caution, seen: Mapping[str, Histogram], floats: frozenset[str] = frozenset()) -> Plan:
        found = plan_int8(equalised, seen, keep_float | beside | floats, evened.prescribed, caution)
        return with_stored_weights(equalised, found, beside | floats)

    halves = _observed(equalised, tensors, images.calibration, spec, progress)
    with progress.stage("choose ranges"):
        merged = _merged(halves) if len(halves) > 1 else halves.pop()
        sensitivity = Sensitivity(graph, tuple(heads), few)

        def stored_so(caution: Caution) -> tuple[Plan, frozenset[str]]:
            plan_of = cache(partial(planned, caution, merged))
            last: frozenset[str] = frozenset()
            if not integer_heads:  # others lose less by now, and layers are others
                last, _ = last_in_float(equalised, sensitivity, plan_of, keep_float, machines)
            return plan_of(last), last

        caution, (plan, last) = cautiously(stored_so, lambda stored: judge.noise(equalised, stored[0]), unseen)
        planned_so = partial(planned, caution)
        beside |= last

        def noises_of_halves() -> tuple[float, ...]:
            plans = []
            while halves:  # which are tens of megabytes
                plans.append(planned_so(halves.pop(0)))
            return tuple(judge.noise(equalised, half) for half in plans)

        noises = aside(noises_of_halves)
    solution = None
    if mixed or not is_small(equalised, plan):
        with progress.stage("solve") as advance:
            solution = solve(
                equalised,
                partial(planned_so, merged),
                bounds,
                sensitivity,
                size=size,
                judge=lambda graph, plan: of_all.noise_and_drop(graph, plan, heads),
                finish=lambda graph, plan: correct(graph, plan, feeds),
                mixed=mixed,
                costs=machines[0],
                advance=advance,
            )
        plan, stored = solution.chosen.plan, solution.graph
        del merged, sensitivity  # with what was measured on the way
    else:
        ways = [plan]
        if has_floats := computes_in_float(equalised, plan, keep_float | beside):
            choices = beside_float(equalised, plan, sensitivity, machines)
            further = [planned_so(merged, floats) for floats in choices]
            ways = [way for way in further if is_small(equalised, way)] or ways
        del merged, sensitivity  # likewise
        release()
        for way in ways:
            with progress.stage("correct layers", pieces(equalised)) as advance, holding():
                stored, plan = correct(equalised, way, feeds, advance)
            if not has_floats or judge.changes(stored, plan, heads) <= CHANGED:
                break
    lessons = lessons or own_answers(graph, effort, images.calibration, spec, progress)
    steps = 0
    if (learned := learned_from(lessons, stored, plan, heads, progress)) is not None:
        (before, drop_before), (noise, drop) = (of_all.noise_and_drop(each, plan, heads) for each in (stored, learned))
        if (bounds.drop_over(drop), noise) <= (bounds.drop_over(drop_before), before):
            stored, steps = learned, lessons.steps
            solution = solution and solution.improved(stored, size(stored, plan), noise, drop)
        else:
            progress.note("learned weights do no better on the held-back images: they stay rounded layer by layer")
    return Quantized(stored, plan, evened.left_out, evened.equalised, steps, noises.result(), solution)


def _plainly(
    graph: Graph, heads: Sequence[str], feeds: Sequence[Feed], keep_float: frozenset[str], machines: Sequence[CostModel]
) -> tuple[frozenset[str], float]:
    """Last layers to compute in float, and the noise that int8 adds to the rest of the network as it is."""
    seen = statistics.collect(graph, tensors_to_observe(graph, keep_float), feeds)

    def planned(floats: frozenset[str]) -> Plan:
        return with_stored_weights(graph, plan_int8(graph, seen, keep_float | floats), floats)

    return last_in_float(graph, Sensitivity(graph, heads, feeds), planned, keep_float, machines)


def _usual(graph: Graph, images: CalibrationImages, spec: Spec, progress: Progress) -> CalibrationImages:
    """The images without those that are unlike all others to the network, of which the user hears."""
    calibration = usual_images(graph, images.calibration, spec)
    if left_out := len(images.calibration) - len(calibration):
        progress.note(
            f"{left_out} of {len(images.calibration)} images are not calibrated on: to the network they are unlike the "
            f"others, with values more than {UNLIKE:.0f} times as large on the way, which int8 cannot hold beside them"
        )
    return replace(images, calibration=calibration)


def _observed(
    graph: Graph, tensors: Sequence[str], images: ImageSet, spec: Spec, progress: Progress
) -> list[Mapping[str, Histogram]]:
    """Statistics of every other image, and of the others."""
    found = []
    with progress.stage("calibrate", len(images)) as advance, holding():
        for half in (images.select(range(start, len(images), 2)) for start in range(min(2, len(images)))):
            key = statistics.cache_key(graph, tensors, fed_with(half, spec), spec.input)
            histograms = statistics.load(key, tensors)
            if histograms is None:
                histograms = statistics.collect(graph, tensors, iter_feeds(half, spec), advance)
                aside(partial(statistics.store, key, histograms))
            else:
                progress.detail(f"statistics of {len(half)} images are cached as {key[:12]}")
            found.append(histograms)
            release()
    return found


def _merged(halves: Sequence[Mapping[str, Histogram]]) -> Mapping[str, Histogram]:
    first, second = halves
    return {name: first[name].merged(second[name]) for name in first}
