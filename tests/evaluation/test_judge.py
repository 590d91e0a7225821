import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.evaluation.judge import judge, judge_bounds
from edgefer.evaluation.results import Outputs
from edgefer.evaluation.summary import rows
from edgefer.evaluation.targets import HeadTargets, Targets
from edgefer.evaluation.tuning import tune
from edgefer.spec import InputSpec, OutputSpec, Spec

HEAD = OutputSpec("expression", "expression", ("happy", "sad"), "softmax")
SPEC = Spec(InputSpec((8, 8), (0.5,) * 3, (0.5,) * 3), (HEAD,))


def one_hot(classes):
    return np.eye(2, dtype=np.float32)[classes] * 0.8 + 0.1


def evaluated(count, lost, gained=0, spec=SPEC):
    """All parts of an evaluation whose artifact loses and gains so many images of a perfect reference."""
    labels = np.arange(count) % 2
    before = labels.copy()
    before[count - gained :] ^= 1
    after = labels.copy()
    after[:lost] ^= 1
    values = {model: {"expression": one_hot(top)} for model, top in (("reference", before), ("tflite", after))}
    outputs = Outputs(tuple(map(str, range(count))), values)
    return judge(outputs, Targets({"expression": HeadTargets(classes=labels)}), spec)[0]


@pytest.mark.parametrize(
    ("count", "lost", "held"),
    [
        (200, 1, True),
        (200, 2, False),
        (199, 0, None),
        (199, 1, None),
        (100, 30, False),
        (1, 1, None),
    ],
)
def test_a_drop_is_judged_on_enough_images_or_beyond_doubt(tiny, count, lost, held):
    verdict = judge_bounds(evaluated(count, lost), tiny, 0.5)
    (bound,) = (bound for bound in verdict.bounds if bound.name == "accuracy_drop")
    assert bound.held is held
    assert bound.found == pytest.approx(100 * lost / count)
    assert bool(bound.reason) == (held is None)
    assert verdict.held is held


def test_a_looser_bound_needs_fewer_images(tiny):
    assert judge_bounds(evaluated(20, 1), tiny, 5.0).held is True
    assert judge_bounds(evaluated(19, 0), tiny, 5.0).held is None


def test_what_is_lost_and_gained_is_counted_apart(tiny):
    drop = evaluated(300, 6, 2).main.artifacts["tflite"].drift.accuracy_drop
    assert (drop.lost, drop.gained) == (6, 2)
    assert drop.points == pytest.approx(100 * 4 / 300)
    assert drop.ci95[0] < drop.points < drop.ci95[1]
    assert 0.25 < drop.p_value < 0.35


def test_an_artifact_that_equals_the_reference_shows_no_drift_and_no_interval(tiny):
    drift = evaluated(300, 0).main.artifacts["tflite"].drift
    assert (drift.agreement.value, drift.agreement.ci95) == (1.0, None)
    assert (drift.accuracy_drop.points, drift.accuracy_drop.p_value) == (0.0, 1.0)
    assert drift.sqnr_db is None
    assert drift.max_abs_change == 0.0
    assert drift.flips == ((0, 0), (0, 0))


def test_one_artifact_has_no_other_runtime_to_differ_from():
    assert evaluated(10, 0).main.cross_runtime is None


def test_a_smile_threshold_of_the_spec_counts():
    strict = Spec(
        SPEC.input, (OutputSpec("expression", "expression", ("happy", "sad"), "softmax", thresholds=(0.95, 0.5)),)
    )
    assert evaluated(10, 0).main.reference.classes.smile.recall == 1.0
    smile = evaluated(10, 0, spec=strict).main.reference.classes.smile
    assert (smile.threshold, smile.recall, smile.false_positive_rate) == (0.95, 0.0, 0.0)


def test_logits_of_a_head_without_activation_are_judged_as_probabilities():
    logits = OutputSpec("expression", "expression", ("happy", "sad"))
    values = np.array([[5.0, -5.0], [1.0, 2.0]], np.float32)
    outputs = Outputs(("a", "b"), {"reference": {"expression": values}, "tflite": {"expression": values + 3}})
    targets = Targets({"expression": HeadTargets(classes=np.array([0, 1]))})
    (part,) = judge(outputs, targets, Spec(SPEC.input, (logits,)))
    assert part.main.reference.classes.accuracy == 1.0
    assert part.main.artifacts["tflite"].drift.kl.value == pytest.approx(0, abs=1e-6)


def test_images_without_a_known_label_count_in_agreement_only():
    values = {model: {"expression": one_hot([0, 1, 1])} for model in ("reference", "tflite")}
    targets = Targets({"expression": HeadTargets(classes=np.array([0, -1, 0]))})
    (part,) = judge(Outputs(("a", "b", "c"), values), targets, SPEC)
    assert part.main.labelled == 2
    assert part.main.reference.classes.accuracy == 0.5
    assert part.main.reference.classes.confusion == ((1, 1), (0, 0))
    assert part.main.artifacts["tflite"].drift.agreement.value == 1.0


def test_thresholds_that_are_not_one_per_label_are_refused():
    head = OutputSpec("units", "action_units", ("AU1", "AU2"), "sigmoid", thresholds=(0.5,))
    with pytest.raises(InputError, match="thresholds must be one per label"):
        Spec(SPEC.input, (head,))


def embedded(noise, count=60):
    head = OutputSpec("face", "embedding", tuple("012345"))
    reference = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    artifact = reference + noise * np.random.default_rng(1).normal(size=reference.shape).astype(np.float32)
    outputs = Outputs(tuple(map(str, range(count))), {"reference": {"face": reference}, "tflite": {"face": artifact}})
    part = judge(outputs, Targets({"face": HeadTargets()}), Spec(SPEC.input, (head,)))[0]
    return part.main.artifacts["tflite"].drift


def test_an_embedding_is_judged_by_its_direction_and_its_neighbours():
    near, far = embedded(0.05), embedded(0.5)
    assert 0.99 < near.cosine_similarity.value < 1 and near.cosine_similarity.ci95[0] > 0.99
    assert far.cosine_similarity.value < near.cosine_similarity.value
    assert far.neighbour_agreement.value < near.neighbour_agreement.value <= 1
    assert near.ccc_drop is None and near.agreement is None
    turned = embedded(0)
    assert turned.cosine_similarity.value == pytest.approx(1) and turned.neighbour_agreement.value == 1
    assert {"cosine_similarity", "neighbour_agreement"} <= near.to_dict(tuple("012345")).keys()


def test_two_images_are_each_other_s_neighbours_and_tell_nothing():
    assert embedded(0.5, count=2).neighbour_agreement is None


def test_smiles_are_compared_at_the_same_false_positive_rate():
    """int8 gives every face more `happy`: the same order, so that nothing is lost at the same rate."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    logit = rng.normal(size=400) + np.where(labels == 0, 1.5, -1.5)
    values = {}
    for model, shifted in (("reference", logit), ("tflite", logit + 2), ("onnx", rng.permutation(logit))):
        p = 1 / (1 + np.exp(-shifted))
        values[model] = {"expression": np.stack([p, 1 - p], axis=1).astype(np.float32)}
    outputs = Outputs(tuple(map(str, range(400))), values)
    (part,) = judge(outputs, Targets({"expression": HeadTargets(classes=labels)}), SPEC)
    before, shifted, lost = (
        part.main.reference,
        part.main.artifacts["tflite"],
        part.main.artifacts["onnx"],
    )
    smile, moved = before.classes.smile, shifted.metrics.classes.smile
    assert moved.false_positive_rate > 3 * smile.false_positive_rate
    assert moved.fixed_rate_recall == smile.fixed_rate_recall > 0.8
    assert moved.fixed_rate_threshold > smile.fixed_rate_threshold
    assert shifted.drift.smile_recall_drop.value == 0
    drop = lost.drift.smile_recall_drop
    assert drop.value == pytest.approx(smile.fixed_rate_recall - lost.metrics.classes.smile.fixed_rate_recall)
    assert drop.ci95[0] < drop.value < drop.ci95[1]


UNITS = OutputSpec("au", "action_units", ("AU1", "AU2"), "sigmoid", thresholds=(0.5, 0.4))


def units(scale=1.0, count=400):
    """Probabilities and targets of two units; the first never reaches 0.5, the second is active nowhere."""
    rng = np.random.default_rng(0)
    target = np.stack([rng.integers(0, 2, count), np.zeros(count)], axis=1).astype(np.float64)
    p = 0.1 + 0.2 * target + 0.04 * rng.normal(size=target.shape)
    return (scale * p).clip(0, 1).astype(np.float32), target


def test_thresholds_of_units_are_chosen_on_one_half_and_judged_on_the_other():
    p, target = units()
    target[1::2, 0] = np.random.default_rng(1).integers(0, 2, 200)
    outputs = Outputs(tuple(map(str, range(400))), {"reference": {"au": p}, "tflite": {"au": p * 0.8}})
    (part,) = judge(outputs, Targets({"au": HeadTargets(values=target)}), Spec(SPEC.input, (UNITS,)))
    own, tuned = part.main.reference.units, part.main.reference.tuned_units
    assert own.f1 == {"AU1": 0.0, "AU2": None} and own.samples["AU1"] == 400
    assert 0.15 < tuned.thresholds["AU1"] < 0.25 and tuned.thresholds["AU2"] == 0.4
    assert tuned.samples["AU1"] == 200
    assert 0.35 < tuned.f1["AU1"] < 0.65, "it was perfect on the half that chose"
    result = part.main.artifacts["tflite"]
    assert result.metrics.tuned_units.thresholds == tuned.thresholds
    assert result.drift.tuned_f1_drop.value == pytest.approx(tuned.mean_f1 - result.metrics.tuned_units.mean_f1)


def test_frames_of_a_sequence_choose_thresholds_together_and_are_drawn_together():
    p, target = units(count=60)
    sequences = np.repeat([3, 5, 8], 20)
    _, judged = tune(UNITS, p, HeadTargets(values=target, sequences=sequences))
    assert (np.isnan(judged.values[:, 0]) == (sequences != 5)).all()
    assert (judged.sequences == sequences).all()
    assert tune(UNITS, p, HeadTargets(values=target, sequences=np.ones(60, int))) is None


AFFECT = OutputSpec("va", "valence_arousal", ("valence", "arousal"), "tanh")


def abaw(*heads, count=300, unknown=()):
    """The scores of a network with some of the three heads, each with targets on some images only.

    Columns of valence and arousal that are `unknown` have no target.
    """
    rng = np.random.default_rng(2)
    labels = rng.integers(-1, 2, count)
    affect = rng.uniform(-1, 1, (count, 2))
    affect[:40] = np.nan
    affect[:, list(unknown)] = np.nan
    p, active = units(2.0, count)
    active[50:60] = np.nan
    found = {
        "expression": one_hot(np.where(rng.random(count) < 0.8, labels.clip(0), 0)),
        "va": np.nan_to_num(affect) + 0.3 * rng.normal(size=affect.shape),
        "au": p,
    }
    worse = {
        "expression": one_hot(rng.integers(0, 2, count)),
        "va": found["va"] + 0.4 * rng.normal(size=affect.shape),
        "au": p * 0.9,
    }
    values = {
        model: {head.name: each[head.name].astype(np.float32) for head in heads}
        for model, each in (("reference", found), ("tflite", worse))
    }
    truth = {
        "expression": HeadTargets(classes=labels), "va": HeadTargets(values=affect), "au": HeadTargets(values=active)
    }  # fmt: skip
    targets = Targets({head.name: truth[head.name] for head in heads})
    return judge(Outputs(tuple(map(str, range(count))), values), targets, Spec(SPEC.input, heads))[0]


def test_the_scores_of_the_abaw_challenges_and_their_sum_have_drops_with_intervals():
    part = abaw(HEAD, AFFECT, UNITS)
    expression, affect, active = part.heads
    scores, drops = part.abaw.scores, part.abaw.drops["tflite"]
    assert scores["reference"] == {
        "p_expr": expression.reference.classes.macro_f1,
        "p_va": affect.reference.values.mean_ccc,
        "p_au": active.reference.units.mean_f1,
        "p_mtl": pytest.approx(
            expression.reference.classes.macro_f1
            + affect.reference.values.mean_ccc
            + active.reference.units.mean_f1
        ),
    }  # fmt: skip
    for name, drop in drops.items():
        assert drop.value == pytest.approx(scores["reference"][name] - scores["tflite"][name], abs=1e-9), name
        assert drop.ci95[0] < drop.value < drop.ci95[1], name
    widths = {name: drop.ci95[1] - drop.ci95[0] for name, drop in drops.items()}
    assert max(widths["p_expr"], widths["p_va"]) < widths["p_mtl"] < sum(widths.values()) - widths["p_mtl"]


def test_scores_of_challenges_are_those_that_the_data_has_targets_for():
    assert abaw(AFFECT).abaw.scores["reference"].keys() == {"p_va"}
    assert abaw(HEAD, UNITS).abaw.scores["reference"].keys() == {"p_expr", "p_au"}
    assert abaw(HEAD).abaw is None, "it is the macro-F1"


def test_without_targets_of_valence_arousal_alone_is_no_mean_nor_a_score_of_the_challenges():
    part = abaw(HEAD, AFFECT, UNITS, unknown=[0])
    assert part.abaw.scores["reference"].keys() == part.abaw.drops["tflite"].keys() == {"p_expr", "p_au"}
    affect = part.heads[1]
    assert affect.reference.values.ccc["valence"] is None and affect.reference.values.ccc["arousal"] > 0.5
    assert affect.reference.values.mean_ccc is affect.artifacts["tflite"].drift.ccc_drop is None
    written = {name: values for name, *values in rows(affect)[1]}
    assert written.keys().isdisjoint({"mean CCC", "CCC drop", "CCC of valence"})
    assert written["CCC of arousal"][0] == f"{affect.reference.values.ccc['arousal']:.4f}"
