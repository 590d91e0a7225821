"""Channels that hardly matter left out, and the others brought to like ranges, as far as the bounds ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import inf

from edgefer.graph.ir import Feed, Graph
from edgefer.graph.macs import parameters
from edgefer.host.memory import holding
from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_feeds
from edgefer.plan import QuantParams
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.prices import WORTH, Prices, int8_cost
from edgefer.quantize.equalise.cross_layer import equalise_layers
from edgefer.quantize.equalise.join_layers import join_layers
from edgefer.quantize.equalise.leave_out import Losable, leave_out, losable
from edgefer.quantize.equalise.split_channels import split
from edgefer.quantize.equalise.through_silu import equalise
from edgefer.quantize.equalise.whole_pixels import store_whole
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.spec import INPUT, Spec

THINNED_ON = 256
"""At most so many calibration images are run to guess channels that are left out from others."""

QUIET = 4e-4
"""What channels that are left out may add to the noise over signal at the heads at first, and"""

SHARE = 0.02
"""what share at most of what plain int8 adds.

By what time is worth alone, a network that int8 hardly disturbs would lose most of its fidelity: of ResNet-18, DACL and
ResNet-50, briefly trained, 3 to 11 dB.  On other images it is about twice as much, and int8 once channels are evened
out and layers corrected is a fraction: with a fifth, an EfficientNet-B0 that knew its faces well lost 3 dB."""

TWICE = 0.6
"""What taking twice as long is worth at most: so much of what plain int8 adds, but where bounds ask for more."""

_STEPS = (
    *((WORTH, times) for times in (1, 2, 4, 8)),
    *((times * WORTH, inf) for times in (1, 1.5, 2, 3, 4, 8, 16)),
)
"""What taking twice as long is worth, and how many times `QUIET` channels that are left out may add, or `SHARE` by the
square of it; ever more, until the bounds are kept."""

_STEPS_IF_THIN = (*((times * WORTH, 0) for times in (1, 1.5, 2, 3, 4)), *_STEPS[4:])
"""The same where what hardly mattered is gone already: first channels are evened out less, then more are left out."""


@dataclass(frozen=True)
class Evened:
    """A network to be quantized.

    Attributes:
        graph: with fewer channels, of like ranges.
        prescribed: how pixels that are whole numbers, and SiLU inputs that were equalised, are stored.
        equalised: names of the latter.
        left_out: parameters of channels that hardly matter.
    """

    graph: Graph
    prescribed: Mapping[str, QuantParams]
    equalised: tuple[str, ...]
    left_out: int


def even_out(
    graph: Graph,
    heads: Sequence[str],
    images: ImageSet,
    spec: Spec,
    feeds: Sequence[Feed],
    few: Sequence[Feed],
    machines: Sequence[CostModel],
    plainly: Callable[[], float],
    latency: float,
    is_small: Callable[[Graph], bool],
    is_thin: bool = False,
) -> Evened:
    """Leave channels out and even out others, as little as keeps the bounds, or as much as there is to try.

    Args:
        graph: the float network.
        heads: values that noise is measured at.
        images: to calibrate on.
        spec: how they become what the network is fed.
        feeds: those that ranges are fitted on.
        few: those of them by which all is measured.
        machines: what nodes cost; the bound on latency is by the first.
        plainly: tells the noise over signal at the heads that int8 adds without any of this, which may take a while.
        latency: over that of the network as it is, in full int8.
        is_small: whether a graph's artifacts keep the bound on bytes.  Where they do not in the end, there are other
            ways: what time is worth rises for the sake of time alone.
        is_thin: whether channels that hardly matter are gone already, so that more go for the bounds alone.
    """
    allowed = latency * int8_cost(graph, machines[0])

    def most(times: float) -> float:
        """What channels that are left out may add."""
        return min(times * QUIET, times**2 * SHARE * plainly())

    channels = cache(partial(_channels, graph, heads, images, spec, few))
    for worth, times in _STEPS_IF_THIN if is_thin else _STEPS:
        spare = channels() if times else None  # before `plainly` is waited for
        calm = min(TWICE * plainly() / WORTH, 1.0) if times < inf else 1.0
        prices = Prices(graph, machines, calm * worth)
        thinned = leave_out(spare, prices, most(times)) if spare is not None else graph
        sensitivity = Sensitivity(thinned, heads, few)
        with holding():
            whole, pixels = store_whole(thinned, sensitivity, plainly)
            joined = join_layers(whole, sensitivity, prices)
            in_parts = split(equalise_layers(joined, feeds, sensitivity, plainly), sensitivity, prices)
            evened, prescribed = equalise(in_parts, feeds, sensitivity, prices)
        if int8_cost(evened, machines[0]) <= allowed and (times == inf or is_small(evened)):
            break
    return Evened(evened, {**pixels, **prescribed}, tuple(prescribed), parameters(graph) - parameters(thinned))


def _channels(graph: Graph, heads: Sequence[str], images: ImageSet, spec: Spec, few: Sequence[Feed]) -> Losable:
    """Channels that may be left out, as `few` images tell; they are guessed from what others show."""
    known = {feed[INPUT].tobytes() for feed in few}
    others = [feed for feed in iter_feeds(images.some(THINNED_ON), spec) if feed[INPUT].tobytes() not in known] or few
    return losable(graph, others, Sensitivity(graph, heads, few))
