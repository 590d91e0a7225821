"""What ranges allow for values that are larger than most."""

import pytest

from edgefer.quantize.scales.ranges import Caution
from edgefer.quantize.solve.caution import FREE, FURTHER, LITTLE, WARIER, cautiously


@pytest.mark.parametrize(
    ("left", "steps"),
    [
        ([1.0, LITTLE + 0.01, 0.0], 0),  # not worth it, whatever were to come
        ([1.0, LITTLE, LITTLE], 1),
        ([1.0, LITTLE, LITTLE**2], 2),
    ],
)
def test_more_is_allowed_as_long_as_it_takes_much_of_the_noise(left, steps):
    tried = []

    def noise(way):
        tried.append(way)
        return left[len(tried) - 1]

    chosen, way = cautiously(lambda caution: caution, noise, unseen=3.0)
    assert way == chosen == tried[steps]
    assert tried[0] == Caution(clipped=3.0)
    assert [each.clipped for each in tried[1:]] == [3 * each.clipped for each in WARIER[: len(tried) - 1]]
    assert [each.beyond for each in tried[1:]] == [each.beyond for each in WARIER[: len(tried) - 1]]


@pytest.mark.parametrize(("noise", "beyond"), [(2 * FREE, 1.0), (FREE, 1.0), (FREE / 1.21, 1.1), (FREE / 100, FURTHER)])
def test_ranges_reach_further_where_that_costs_nothing_that_answers_tell(noise, beyond):
    chosen, way = cautiously(lambda caution: caution, lambda way: noise, unseen=1.0)
    assert way == chosen
    assert (chosen.clipped, chosen.beyond) == (1.0, pytest.approx(beyond))
