import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.errors import InputError, UsageError
from edgefer.evaluation.statistics import binomial_upper
from edgefer.spec import InputSpec, OutputSpec, Spec
from edgefer.timeline.asking import ByLevels
from edgefer.timeline.levels import Levels
from edgefer.timeline.observed import Observed, Track
from edgefer.timeline.policy import calibrate, read_policy

SPEC = Spec(
    InputSpec((8, 8), (0.5,) * 3, (0.5,) * 3), (OutputSpec("expression", "expression", ("happy", "neutral", "sad")),)
)


def person(name, seed, seconds=60, noise=1.0, clarity=3.0):
    """Scores of a face at 30 frames per second that changes its expression every second, and trembles."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, seconds)
    logits = rng.normal(0, noise, (30 * seconds, 3))
    logits[np.arange(30 * seconds), truth.repeat(30)] += clarity * rng.random(seconds).repeat(30)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    count = len(scores)
    nothing = np.zeros(count)
    levels = np.ones(count, np.int64)
    track = Track(
        1, np.arange(count), np.ones((count, 4)), nothing, nothing, nothing, levels * 0, levels, {"expression": scores}
    )
    return Observed(name, name, np.arange(count) / 30, (64, 48), (track,), count, 0)


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_on_people_that_it_was_not_calibrated_on_the_bound_holds(seed):
    people = [person(f"p{index}", seed * 100 + index) for index in range(16)]
    alpha = 0.1
    policy = calibrate(people, SPEC, "", alpha=alpha)
    adaptive = policy.outcomes[0]
    assert adaptive.windows == 480
    # errors of all levels together are bounded by alpha, up to chance in both halves
    assert adaptive.errors <= alpha * 480 + 4 * np.sqrt(2 * alpha * (1 - alpha) * 480)
    assert adaptive.inferred < 1


def test_what_is_recommended_is_the_cheapest_that_keeps_the_bound():
    policy = calibrate([person(f"p{index}", index) for index in range(20)], SPEC, "", alpha=0.1)
    kept = [outcome for outcome in policy.outcomes if outcome.keeps(0.1)]
    assert policy.recommended == min(kept, key=lambda outcome: outcome.inferred).name
    assert {outcome.name for outcome in policy.outcomes} == {
        "adaptive",
        "stride 30",
        "stride 15",
        "stride 5",
        "stride 1",
    }
    assert policy.outcomes[-1].errors == 0 and policy.outcomes[-1].inferred == 1


def test_faces_that_show_clearly_need_few_frames():
    clear = calibrate([person(f"p{index}", index, noise=0.1) for index in range(20)], SPEC, "", alpha=0.05)
    unclear = calibrate([person(f"p{index}", index, noise=3.0) for index in range(20)], SPEC, "", alpha=0.05)
    assert clear.outcomes[0].inferred < 0.2 < unclear.outcomes[0].inferred


def test_with_too_few_windows_nothing_is_shown_and_every_frame_is_recommended():
    policy = calibrate([person("a", 0, seconds=3), person("b", 1, seconds=3)], SPEC, "")
    assert policy.recommended == "stride 1"


def test_labels_count_where_there_are_some():
    people = [person(f"p{index}", index, noise=0.1) for index in range(4)]
    policy = calibrate(people, SPEC, "", label=lambda source, start, end: 0 if start < 30 else None)
    assert policy.against == "labels"
    assert policy.outcomes[0].windows == 60
    assert policy.outcomes[-1].errors > 20  # the answer at the full rate is not the label


def test_it_survives_its_file(tmp_path):
    policy = calibrate([person(f"p{index}", index) for index in range(6)], SPEC, "abc")
    (tmp_path / "policy.json").write_text(json.dumps(policy.to_dict()))
    assert read_policy(tmp_path / "policy.json") == policy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "edgefer.run/1"}, "not a file of schema edgefer.policy/1"),
        ({"strides": [30, 7, 1]}, "do not fit together"),
        ({"strides": []}, "damaged"),
        ({"thresholds": [0.5]}, "do not fit together"),
        ({"window_s": 0}, "do not fit together"),
        ({"outcomes": 3}, "damaged"),
        ({"strides": "many"}, "damaged"),
    ],
)
def test_a_damaged_policy_is_refused(tmp_path, change, message):
    policy = calibrate([person("a", 0, 3), person("b", 1, 3)], SPEC, "")
    document = {**json.loads(json.dumps(policy.to_dict())), **change}
    (tmp_path / "policy.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"policy\.json: .*{message}"):
        read_policy(tmp_path / "policy.json")


@pytest.mark.parametrize("strides", [(30, 7, 1), (15, 30, 1), (30, 15), (), (0,), (5, 5, 1)])
def test_strides_must_divide_each_other(strides):
    with pytest.raises(UsageError, match="each must divide the one before"):
        calibrate([person("a", 0, 3), person("b", 1, 3)], SPEC, "", strides=strides)


def test_one_person_is_too_few():
    nobody = replace(person("b", 1, 3), tracks=())
    with pytest.raises(InputError, match="1 of 2 sources show a face"):
        calibrate([person("a", 0, 3), nobody], SPEC, "")


def test_levels_ask_on_nested_frames_until_they_are_sure():
    asked = []

    def network(pixels):
        asked.append(int(pixels[0, 0, 0]))
        return {
            "expression": np.array([0.6, 0.4], np.float32)
            if pixels[0, 0, 0] % 4 == 0
            else np.array([0.9, 0.1], np.float32)
        }

    asking = ByLevels(network, Levels(1.0, (4, 2, 1), (0.7, 0.7, 0.0)), "expression")
    results = [
        each for frame in range(10) for each in asking.see(frame, frame / 10, np.full((1, 1, 3), frame, np.uint8))
    ]
    assert [(each.frame, each.level) for each in results] == [(0, 1), (4, 1), (8, 1)]  # the window is not over
    results = asking.see(10, 1.0, np.full((1, 1, 3), 10, np.uint8))
    assert asked == [0, 4, 8, 2, 6]
    assert [(each.frame, each.level) for each in results] == [(2, 2), (6, 2)]
    assert asking.finish()[-1].frame == 10


def test_a_window_without_the_face_ends_the_one_before():
    sure = np.array([0.9, 0.1], np.float32)
    asking = ByLevels(lambda pixels: {"expression": sure}, Levels(1.0, (4, 2, 1), (0.7, 0.7, 0.0)), "expression")
    assert asking.see(1, 0.1, np.zeros((1, 1, 3), np.uint8)) == []
    assert asking.see(2, 0.2, None) == []
    assert [(each.frame, each.level) for each in asking.see(11, 1.1, None)] == [(1, 3)]
    assert asking.finish() == []


@pytest.mark.parametrize(("count", "trials"), [(0, 10), (1, 10), (3, 50), (50, 1000), (10, 10), (0, 0)])
def test_the_bound_is_clopper_and_pearsons(count, trials):
    from scipy.stats import beta

    expected = beta.ppf(0.95, count + 1, trials - count) if count < trials else 1.0
    assert binomial_upper(count, trials) == pytest.approx(expected, abs=1e-9)
