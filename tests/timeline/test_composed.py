"""Videos whose truth is known exactly: when something shows, where faces are, who is who."""

import numpy as np
import pytest

from benchmarks.composed_videos import Actor, Composition, Showing, Still, parts, unambiguous_stills
from benchmarks.video_truth import following, score
from edgefer.runtime.runners import open_runner
from edgefer.spec import InputSpec, OutputSpec, Spec
from edgefer.timeline.asking import EveryNth
from edgefer.timeline.look import Looking, look
from edgefer.timeline.smoothing import Smoothing
from edgefer.timeline.timeline import face_lines

LABELS = ("happy", "neutral", "sad")
SPEC = Spec(InputSpec((8, 8), (0.5,) * 3, (0.5,) * 3), (OutputSpec("expression", "expression", LABELS),))
COLOURS = {
    label: Still(np.full((48, 48, 3), colour, np.uint8), label)
    for label, colour in (("happy", (230, 20, 20)), ("neutral", (20, 230, 20)), ("sad", (20, 20, 230)))
}


def colour_network(pixels):
    """Knows an expression by its colour."""
    strength = pixels.reshape(-1, 3).mean(axis=0) / 40
    scores = np.exp(strength - strength.max())
    return {"expression": (scores / scores.sum()).astype(np.float32)}


def true_boxes(composition):
    """A detector that is always right, with the largest face first."""

    def find(image, source, frame):
        boxes = [actor.box(frame / composition.fps) for actor in composition.actors]
        return sorted((box for box in boxes if box), key=lambda box: -box.width)

    return find


def shown(*parts_of_actor):
    return [Showing(start, COLOURS[label]) for start, label in parts_of_actor]


@pytest.fixture(scope="module")
def composition():
    """One who is out of sight shortly and grows, one who comes in later and moves aside, one who leaves."""
    return Composition(
        "a",
        (
            Actor(
                shown((0, "neutral"), (4, "happy"), (9, "neutral"), (12, "sad")),
                lambda t: (150, 250, 80 + 6 * t),
                [(0, 6), (6.4, 18)],
            ),
            Actor(shown((0, "happy"), (8, "neutral")), lambda t: (360 + 8 * t, 200, 90), [(3, 18)]),
            Actor(shown((0, "sad")), lambda t: (330, 400, 60), [(0, 8)]),
        ),
        18,
        fps=10,
    )


@pytest.fixture(scope="module")
def observed(composition):
    return look(composition, Looking(true_boxes(composition), lambda: EveryNth(colour_network), SPEC))


def test_events_are_found_when_they_are_and_nobody_is_taken_for_another(composition, observed):
    smoothing = Smoothing("centred", {"expression": 0.3})
    found = following(composition, list(face_lines(observed, SPEC, smoothing)))
    assert (found.switches, found.seen, found.actors) == (0, 1.0, {1: 0, 2: 2, 3: 1})
    said = score(composition, observed, SPEC, smoothing, "neutral")
    assert said.f1 == 1 and said.true == 4
    assert max(map(abs, said.delays)) < 0.11


@pytest.mark.parametrize(("mode", "half_s"), [("centred", 0.0), ("centred", 1.0), ("causal", 0.5), ("causal", 1.0)])
def test_onsets_come_late_by_the_lag_that_is_stated(composition, observed, mode, half_s):
    smoothing = Smoothing(mode, {"expression": half_s})
    said = score(composition, observed, SPEC, smoothing, "neutral")
    changes = [found.onset_s - true.onset_s for found, true in said.pairs if true.face == 0]
    assert len(changes) == 2
    assert changes == pytest.approx([smoothing.lag("expression")] * 2, abs=0.11)


def test_int8_finds_the_events_that_float_finds_among_real_faces(shared, converted_fer_b0):
    bundle = converted_fer_b0[0]
    wanted = {"happy": 12, "surprise": 12, "neutral": 12}
    stills = []
    for still in unambiguous_stills(shared / "data" / "fer2013_public.npz", 0.9):
        if wanted.get(still.label, 0):
            wanted[still.label] -= 1
            stills.append(still)
    first, second = stills[::2], stills[1::2]
    video = Composition(
        "faces",
        (
            Actor(
                parts(["neutral", "happy", "neutral"], first, [2, 4, 2], 1), lambda t: (170, 230, 120 + 5 * t), [(0, 8)]
            ),
            Actor(
                parts(["surprise", "neutral", "happy"], second, [3, 2, 3], 1),
                lambda t: (450 - 6 * t, 240, 130),
                [(0, 4), (4.4, 8)],
            ),
        ),
        8,
        fps=10,
    )
    scores = {}
    for artifact in bundle.artifacts:
        network = open_runner(bundle.path / artifact.file, artifact.format)
        seen = look(video, Looking(true_boxes(video), lambda run=network: EveryNth(run), bundle.spec))
        assert following(video, list(face_lines(seen, bundle.spec, Smoothing()))).switches == 0
        smoothing = Smoothing("centred", {"expression": 0.5})
        scores[artifact.file] = score(video, seen, bundle.spec, smoothing, "neutral")
    *int8, reference = scores.values()
    assert reference.true == 3 and reference.f1 >= 0.5
    assert min(each.f1 for each in int8) >= 0.95 * reference.f1
