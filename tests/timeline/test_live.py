import numpy as np
import pytest

from edgefer.spec import OutputSpec
from edgefer.timeline.asking import ByLevels, EveryNth
from edgefer.timeline.levels import Levels
from edgefer.timeline.live import Live
from edgefer.timeline.smoothing import Smoothing, smoothed

HEADS = (OutputSpec("expression", "expression", ("happy", "sad")), OutputSpec("units", "action_units", ("AU12",)))
CAUSAL = Smoothing("causal")


def network(pixels):
    """Scores that the first pixel tells."""
    share = pixels[0, 0, 0] / 255
    return {"expression": np.array([share, 1 - share]), "units": np.array([share**2])}


def pixels(rng):
    return np.full((1, 1, 3), rng.integers(0, 256), np.uint8)


@pytest.mark.parametrize("stride", [1, 4])
def test_it_says_what_a_recording_says_that_is_smoothed_by_what_came_before(stride):
    rng = np.random.default_rng(stride)
    times = np.cumsum(rng.uniform(0.02, 0.12, 200))
    pictures = [pixels(rng) for _ in times]
    live = Live(EveryNth(network, stride), HEADS, CAUSAL)
    found = [live.see(*each).smooth for each in zip(range(200), times, pictures, strict=True)]
    asked = np.arange(0, 200, stride)
    answers = [network(pictures[index]) for index in asked]
    for head, columns in zip(HEADS, (slice(0, 2), slice(2, 3)), strict=True):
        values = np.array([answer[head.name] for answer in answers])
        expected = smoothed(times[asked], values, times, CAUSAL.half(head.kind), "causal")
        np.testing.assert_allclose(np.array(found)[:, columns], expected, atol=1e-12)


def test_a_face_out_of_sight_is_held_for_the_gap_and_begins_anew_after_it():
    live = Live(EveryNth(network), HEADS, CAUSAL)
    white, black = (np.full((1, 1, 3), level, np.uint8) for level in (255, 0))
    assert live.see(0, 0.0, None).smooth is None
    np.testing.assert_allclose(live.see(1, 0.1, white).smooth, [1, 0, 1])
    np.testing.assert_allclose(live.see(2, 0.6, None).smooth, [1, 0, 1])
    assert live.see(3, 0.7, None).smooth is None
    np.testing.assert_allclose(live.see(4, 0.8, black).smooth, [0, 1, 0])


def test_late_answers_of_a_window_count_from_then_on():
    rng = np.random.default_rng(0)
    live = Live(ByLevels(network, Levels(1.0, (4, 1), (2.0, 0.0)), "expression"), HEADS, CAUSAL)
    pictures = [pixels(rng) for _ in range(12)]
    moments = [live.see(frame, frame / 10, picture) for frame, picture in enumerate(pictures)]
    assert [each.frame for each in moments[10].asked] == [1, 2, 3, 5, 6, 7, 9]
    known = {0: [0], 4: [0, 4], 9: [0, 4, 8], 11: range(10)}  # a tenth is no frame of the first level
    for frame, seen in known.items():
        values = np.array([network(pictures[index])["expression"] for index in seen])
        expected = smoothed(np.array(seen) / 10, values, np.array([frame / 10]), 1.7, "causal")[0]
        np.testing.assert_allclose(moments[frame].smooth[:2], expected)


def test_it_does_not_grow():
    live = Live(EveryNth(network), HEADS, CAUSAL)
    for frame in range(500):
        live.see(frame, frame / 30, np.zeros((1, 1, 3), np.uint8))
    assert len(live._known) < 110
