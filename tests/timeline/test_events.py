import numpy as np
import pytest

from edgefer.timeline.events import find_events

TIMES = np.arange(0, 10, 0.1)


def events(scores, threshold=0.5):
    return list(find_events(TIMES, np.asarray(scores, float), threshold))


def test_onset_and_offset_lie_on_the_line_between_frames():
    scores = np.interp(TIMES, [0, 2, 4, 6, 8], [0, 0, 1, 0, 0])
    ((onset, peak_s, offset, peak),) = events(scores)
    assert (onset, peak_s, offset, peak) == pytest.approx((3.0, 4.0, 5.2, 1.0))


def test_a_score_that_trembles_about_the_threshold_is_one_event():
    scores = np.where(np.arange(100) % 2, 0.45, 0.55)
    assert len(events(scores)) == 1


def test_a_blink_is_none():
    scores = np.zeros(100)
    scores[50] = 0.6
    assert events(scores) == []


def test_what_is_unknown_ends_an_event_and_what_follows_is_another():
    scores = np.full(100, 0.9)
    scores[50] = np.nan
    assert [(round(a, 3), round(b, 3)) for a, _, b, _ in events(scores)] == [(0.0, 4.9), (5.1, 9.9)]
