from itertools import groupby

import numpy as np
import pytest

from edgefer.evaluation import quick_look
from edgefer.evaluation.quick_look import agreement, frame_times, sqnr
from edgefer.spec import InputSpec, OutputSpec, Spec

INPUT = InputSpec((1, 1), (0.5,) * 3, (0.5,) * 3)
PIXELS = [np.full((1, 1, 3), index, np.uint8) for index in range(4)]


def spec(kind, labels, activation):
    return Spec(INPUT, (OutputSpec("head", kind, labels, activation),))


def measured(spec, reference, artifact):
    reference, artifact = ({"head": np.asarray(rows, np.float32)} for rows in (reference, artifact))
    return agreement(reference, artifact, spec)["head"]


def test_classes_agree_where_the_same_one_is_chosen():
    faces = spec("expression", ("sad", "happy"), "softmax")
    reference = [(0.9, 0.1), (0.9, 0.1), (0.2, 0.8), (0.2, 0.8)]
    artifact = [(0.6, 0.4), (0.4, 0.6), (0.1, 0.9), (0.0, 1.0)]
    assert measured(faces, reference, artifact) == 0.75


def test_logits_of_classes_are_compared_by_choice_too():
    faces = spec("expression", ("sad", "happy"), "none")
    assert measured(faces, [(3, 1)] * 4, [(9, -5)] * 4) == 1


def test_action_units_agree_label_by_label():
    units = spec("action_units", ("AU1", "AU2"), "sigmoid")
    assert measured(units, [(0.9, 0.1)] * 4, [(0.9, 0.1), (0.9, 0.9), (0.6, 0.4), (0.9, 0.2)]) == 7 / 8


def test_action_units_are_decided_at_their_own_thresholds():
    thresholds = Spec(INPUT, (OutputSpec("head", "action_units", ("AU1",), "sigmoid", thresholds=(0.2,)),))
    assert measured(thresholds, [(0.3,)] * 4, [(0.4,), (0.25,), (0.1,), (0.1,)]) == 0.5


def test_values_agree_by_correlation():
    affect = spec("valence_arousal", ("valence", "arousal"), "tanh")
    reference = [(-1, 0), (0, 0.5), (0.5, 0), (1, -0.5)]
    assert measured(affect, reference, reference) == pytest.approx(1)
    assert measured(affect, reference, [(-v, -a) for v, a in reference]) == pytest.approx(-1)


@pytest.mark.parametrize(("artifact", "expected"), [([(0.5, 0.5)] * 4, 1), ([(0.5, 0.4)] * 4, 0)])
def test_values_that_never_change_agree_where_they_are_equal(artifact, expected):
    affect = spec("valence_arousal", ("valence", "arousal"), "tanh")
    assert measured(affect, [(0.5, 0.5)] * 4, artifact) == expected


def test_what_is_the_same_for_all_images_is_no_signal():
    affect = spec("valence_arousal", ("valence", "arousal"), "none")
    reference, artifact = ({"head": np.array(rows, np.float32)} for rows in ([(9, 1), (9, -1)], [(9, 1.1), (9, -1.1)]))
    assert sqnr(reference, artifact, affect)["head"] == pytest.approx(20, abs=1e-4)


def test_times_are_medians_of_blocks_without_the_warm_up(monkeypatch):
    clock = iter(range(10_000))
    costs = {"slow": 3, "fast": 1}
    now = [0.0]
    called = []
    monkeypatch.setattr("edgefer.evaluation.quick_look.perf_counter", lambda: now[0])

    def runner(name):
        def run(pixels):
            called.append(name)
            first = next(clock) < 4  # the first frames load caches
            now[0] += (1000 if first else costs[name]) / 1000
            return {}

        return run

    assert frame_times({name: runner(name) for name in costs}, PIXELS[0]) == pytest.approx({"slow": 3, "fast": 1})
    assert [name for name, _ in groupby(called)] == ["slow", "fast"] * quick_look._ROUNDS
