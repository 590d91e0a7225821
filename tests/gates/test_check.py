"""Every gate fails for what makes a bundle worse in its way, and for nothing else."""

import json

import jsonschema
import numpy as np
import pytest

import edgefer
from edgefer.errors import InputError
from tests.gates.files import (
    AFFECT,
    EMBEDDING,
    EXPRESSION,
    UNITS,
    expressions,
    make_bundle,
    schema,
    write_benchmark,
    write_evaluation,
)

COUNTED = {"instructions": {"total": 150e6}, "nodes": {"total": 100, "delegated": 100}}


@pytest.fixture
def bundle(tmp_path):
    """The bundle that was accepted."""
    return make_bundle(tmp_path)


@pytest.fixture
def baseline(tmp_path, bundle):
    """Its baseline, with everything in it."""
    benchmarks = [write_benchmark(bundle, seed=seed, **COUNTED) for seed in range(3)]
    accepted = edgefer.check(bundle, evaluation=write_evaluation(bundle, expressions()), benchmarks=benchmarks)
    (tmp_path / "baseline.json").write_text(accepted.baseline)
    return tmp_path / "baseline.json"


@pytest.fixture
def gates(tmp_path):
    """Writes a file of gates."""

    def write(text):
        path = tmp_path / "gates.toml"
        path.write_text(f'schema = "edgefer.gates/1"\n{text}')
        return path

    return write


def judged(bundle, baseline=None, answers=None, benchmarks=({},), **options):
    """Checks a bundle on `answers` and on benchmarks as described."""
    evaluation = write_evaluation(bundle, expressions() if answers is None else answers)
    files = [write_benchmark(bundle, **COUNTED | {"seed": 9} | described) for described in benchmarks]
    return edgefer.check(bundle, baseline, evaluation=evaluation, benchmarks=files, **options)


def outcomes(result, outcome):
    return {decision.gate for decision in result.decisions if decision.outcome == outcome}


def test_the_same_bundle_passes_every_gate(bundle, baseline):
    result = judged(bundle, baseline)
    assert result.outcome == "pass"
    assert result.exit_code == 0
    assert outcomes(result, "pass") >= {"size", "accuracy", "agreement", "recall", "latency_p50", "instructions"}


def test_a_heavier_file_fails_the_size_gate_alone(tmp_path, baseline):
    result = judged(make_bundle(tmp_path, sizes=(4_000_000, 4_100_000)), baseline)
    assert outcomes(result, "fail") == {"size"}
    (decision,) = (d for d in result.decisions if d.outcome == "fail")
    assert (decision.place, decision.bound) == ("onnx", "at most 1 % more than the baseline")
    assert decision.finding.text == "4.00 MB to 4.10 MB: +2.50 %"


def test_a_file_over_the_absolute_bound_fails_without_a_baseline(tmp_path):
    result = judged(make_bundle(tmp_path, sizes=(8_000_001, 4_000_000)))
    assert outcomes(result, "fail") == {"size"}


@pytest.mark.parametrize(
    ("least", "text"), [("0.9", "0.9848"), ("0.9849", "0.9848"), ("0.984849", "0.98484"), ("0.984841", "0.984840")]
)
def test_a_figure_has_the_digits_that_tell_it_from_its_bound(tmp_path, gates, least, text):
    values, turned = np.zeros((2, 50, 6), np.float32)
    values[:, 0] = 1
    turned[:, :2] = 0.98484, np.sqrt(1 - 0.98484**2)
    bundle = make_bundle(tmp_path, outputs=(EMBEDDING,))
    evaluation = write_evaluation(bundle, {"face": {"reference": values, "onnx": turned, "tflite": turned}})
    file = gates(f"[gate.cosine_similarity]\nat_least = {least}\n")
    decision = next(d for d in edgefer.check(bundle, gates=file, evaluation=evaluation).decisions if d.finding)
    assert decision.finding.text.partition(" ")[0] == text


def test_two_points_less_accuracy_fail_the_accuracy_gates(tmp_path, baseline):
    result = judged(make_bundle(tmp_path, seed=1), baseline, expressions(lost=0.032))
    (accuracy, *_) = (d for d in result.decisions if d.gate == "accuracy")
    assert accuracy.finding.value == pytest.approx(-2, abs=0.4)
    assert "accuracy" in outcomes(result, "fail")
    assert not outcomes(result, "fail") & {"size", "delegated", "latency_p50", "latency_p90", "instructions"}


def test_one_sequence_that_is_lost_is_no_evidence_and_its_frames_as_images_are(tmp_path):
    def outcomes(sequences):
        answers = expressions(changed=0.0)
        first = make_bundle(tmp_path)
        evaluation = write_evaluation(first, answers, sequences=sequences)
        (tmp_path / "base.json").write_text(edgefer.check(first, evaluation=evaluation).baseline)
        lost = {model: values.copy() for model, values in answers["expression"].items()}
        lost["tflite"][:100] = (lost["targets"][:100] + 1) % 4
        second = make_bundle(tmp_path, seed=1)
        evaluation = write_evaluation(second, {"expression": lost}, sequences=sequences)
        found = edgefer.check(second, tmp_path / "base.json", evaluation=evaluation).decisions
        return {d.outcome for d in found if (d.gate, d.place) == ("accuracy", "tflite")}

    assert outcomes(()) == {"fail"}
    assert outcomes([100] * 40) == {"unknown"}


def test_a_class_that_is_lost_fails_the_recall_gate_on_that_class(tmp_path, baseline):
    answers = expressions()
    models = answers["expression"]
    models["tflite"] = np.where((models["targets"] == 3) & (np.arange(4000) % 5 == 0), 0, models["tflite"])
    result = judged(make_bundle(tmp_path, seed=1), baseline, answers)
    failed = {(d.gate, d.place) for d in result.decisions if d.outcome == "fail" and d.gate == "recall"}
    assert failed == {("recall", "tflite, sad")}


def test_a_slower_artifact_fails_the_latency_gates(tmp_path, baseline):
    slower = [{"ms": 15.0, "seed": seed} for seed in range(3)]
    result = judged(make_bundle(tmp_path, seed=1), baseline, benchmarks=slower)
    assert outcomes(result, "fail") == {"latency_p50", "latency_p90"}


def test_more_instructions_fail_the_instruction_gate_alone(bundle, baseline):
    result = judged(bundle, baseline, benchmarks=[{"instructions": {"total": 153e6}}])
    assert outcomes(result, "fail") == {"instructions"}


def test_more_memory_fails_the_memory_gate_alone(bundle, baseline):
    assert outcomes(judged(bundle, baseline, benchmarks=[{"peak_rss_bytes": 50_000_000}]), "fail") == {"peak_rss"}


@pytest.mark.parametrize(("key", "metric"), [("load_ms", "load_time"), ("first_ms", "first_inference")])
def test_a_slow_start_fails_its_gate_alone(bundle, baseline, key, metric):
    assert outcomes(judged(bundle, baseline, benchmarks=[{key: 90.0}]), "fail") == {metric}
    assert outcomes(judged(bundle, baseline, benchmarks=[{key: 35.0}]), "fail") == set()


def test_a_node_that_xnnpack_leaves_fails_the_delegation_gate_alone(tmp_path, baseline):
    result = judged(make_bundle(tmp_path, undelegated=["SOFTMAX (y)"]), baseline)
    assert outcomes(result, "fail") == {"delegated"}


def test_worse_correlation_and_f1_fail_their_gates(tmp_path):
    rng = np.random.default_rng(0)
    truth = {"affect": rng.uniform(-1, 1, (600, 2)), "units": rng.integers(0, 2, (600, 3)).astype(float)}
    kinds = {"affect": AFFECT, "units": UNITS}

    def answers(noise, flipped):
        affect = np.clip(truth["affect"] + noise * rng.normal(size=(600, 2)), -1, 1)
        units = np.abs(truth["units"] - 0.9 * (rng.random((600, 3)) < flipped))
        said = {"affect": affect, "units": units}
        return {
            head: dict.fromkeys(("reference", "tflite", "onnx"), said[head]) | {"targets": truth[head]}
            for head in kinds
        }

    good, bad = (make_bundle(tmp_path, seed=seed, outputs=(EXPRESSION, *kinds.values())) for seed in (0, 1))
    accepted = judged(good, answers=expressions(600) | answers(0.1, 0.05))
    (tmp_path / "baseline.json").write_text(accepted.baseline)
    result = judged(bad, tmp_path / "baseline.json", expressions(600) | answers(0.4, 0.2))
    assert {("ccc", "onnx, affect"), ("f1", "tflite, units")} <= {
        (d.gate, d.place) for d in result.decisions if d.outcome == "fail"
    }


def test_valence_alone_is_no_evidence_of_the_mean_concordance(tmp_path, gates):
    truth = np.random.default_rng(0).uniform(-1, 1, (600, 2))
    bundle = make_bundle(tmp_path, outputs=(AFFECT,))

    gate = gates("[gate.ccc]\nat_least = 0.9\nmissing = 'unknown'")

    def outcome(targets):
        models = dict.fromkeys(("reference", "tflite", "onnx"), truth) | {"targets": targets}
        result = judged(bundle, answers={"affect": models}, gates=gate)
        return {decision.outcome for decision in result.decisions}

    assert outcome(truth) == {"pass"}
    assert outcome(np.stack([truth[:, 0], np.full(600, np.nan)], axis=1)) == {"unknown"}


def test_noise_alone_never_fails(tmp_path, bundle, baseline):
    """Answers that change as often for the better as for the worse, and runs that drift by some percent."""
    drift = np.random.default_rng(0).normal(0, 0.03, 20)
    for seed in range(20):
        other = make_bundle(tmp_path, seed=seed + 1)
        slow = [{"ms": 10 * float(np.exp(drift[seed])), "seed": seed + 10}]
        result = judged(other, baseline, expressions(seed=seed + 1), benchmarks=slow)
        assert outcomes(result, "fail") == set()


def test_a_run_that_is_disturbed_from_end_to_end_fails_no_gate_while_a_frame_is_as_fast_as_before(bundle, baseline):
    samples = [16.0] * 1023 + [10.1]
    result = judged(bundle, baseline, benchmarks=[{"invoke_ms": {"samples": samples}}])
    assert outcomes(result, "unknown") == {"latency_p50", "latency_p90"}
    assert outcomes(result, "fail") == set()


def test_a_drop_that_may_be_chance_is_not_enough_evidence(tmp_path, bundle):
    small = expressions(300)
    (tmp_path / "baseline.json").write_text(judged(bundle, answers=small).baseline)
    result = judged(make_bundle(tmp_path, seed=1), tmp_path / "baseline.json", expressions(300, lost=0.02))
    assert result.exit_code == 5
    (decision, *_) = (d for d in result.decisions if d.gate == "accuracy")
    assert decision.outcome == "unknown"
    assert "beyond the bound, but that may be chance: more images would tell" in decision.reason


def test_too_few_images_are_not_enough_evidence_to_pass(tmp_path, bundle):
    (tmp_path / "baseline.json").write_text(judged(bundle, answers=expressions(100)).baseline)
    result = judged(make_bundle(tmp_path, seed=1), tmp_path / "baseline.json", expressions(100))
    (decision, *_) = (d for d in result.decisions if d.gate == "accuracy")
    assert decision.outcome == "unknown"
    assert "within the bound, but too coarse to rely on" in decision.reason


@pytest.mark.parametrize("status", ["throttled", "noisy", "incomplete"])
def test_a_run_that_is_not_trusted_is_no_evidence_of_time(bundle, baseline, status):
    result = judged(bundle, baseline, benchmarks=[{"status": status, "ms": 30.0}])
    assert result.exit_code == 5
    assert outcomes(result, "unknown") == {"latency_p50", "latency_p90", "load_time", "first_inference"}
    assert f"{status}: the clock fell to 600 MHz" in next(d for d in result.decisions if d.outcome == "unknown").reason
    assert "instructions" in outcomes(result, "pass")


def test_one_trusted_run_among_others_is_what_counts(bundle, baseline):
    result = judged(bundle, baseline, benchmarks=[{"status": "noisy", "ms": 30.0}, {"ms": 10.0}])
    assert result.outcome == "pass"


def test_too_few_frames_are_no_evidence_of_time(bundle, baseline):
    result = judged(bundle, baseline, benchmarks=[{"frames": 100}])
    assert outcomes(result, "unknown") == {"latency_p50", "latency_p90", "load_time", "first_inference"}
    assert "100 frames were timed; 128 are needed" in " ".join(result.notes)


STAGES = {"detect": 20, "crop": 1, "infer": 6, "smooth": 0.1, "total": 27.2}


def test_whole_frames_are_gated_by_stage_and_by_the_rate_that_they_hold(tmp_path, bundle, gates):
    asked = gates(
        '[gate.frame_rate]\nat_least = "30 fps"\nmax_decrease = "10 %"\n'
        '[gate.infer]\nmetric = "frame_p50"\nmax_increase = "10 %"\nwhere = {label = "infer"}\n'
    )
    runs = [write_benchmark(bundle, pipeline=STAGES, seed=seed) for seed in range(2)]
    accepted = edgefer.check(bundle, benchmarks=runs, gates=asked)
    assert outcomes(accepted, "pass") == {"frame_rate"} and outcomes(accepted, "skip") == {"frame_rate", "infer"}
    (tmp_path / "accepted.json").write_text(accepted.baseline)
    jsonschema.validate(json.loads(accepted.baseline), schema("baseline"))

    def told(**described):
        benchmark = write_benchmark(bundle, seed=5, **described)
        result = edgefer.check(bundle, tmp_path / "accepted.json", benchmarks=[benchmark], gates=asked)
        return result.outcome, outcomes(result, "fail")

    assert told(pipeline=STAGES) == ("pass", set())
    assert told(pipeline=STAGES | {"infer": 9, "total": 30.2}) == ("fail", {"infer"})
    assert told(pipeline=STAGES | {"detect": 30, "total": 37.2}) == ("fail", {"frame_rate"})
    for no_evidence in ({"status": "throttled"}, {"emulated": True}):
        assert told(pipeline=STAGES | {"total": 37.2}, **no_evidence) == ("unknown", set())
    assert told() == ("unknown", set())


def test_frames_of_two_videos_are_not_mixed(bundle):
    runs = [write_benchmark(bundle, pipeline=STAGES) for _ in range(2)]
    runs[1].write_text(runs[1].read_text().replace("a.mp4", "b.mp4"))
    with pytest.raises(InputError, match=r"frames of several videos were timed: a\.mp4, 640 x 480; b\.mp4"):
        edgefer.check(bundle, benchmarks=runs)


def test_times_on_an_emulated_board_are_never_evidence_but_instructions_are(tmp_path, bundle, gates):
    emulated = {"emulated": True, "name": "board"}
    (tmp_path / "baseline.json").write_text(judged(bundle, benchmarks=[emulated]).baseline)
    worse = [emulated | {"ms": 90.0, "instructions": {"total": 200e6}, "peak_rss_bytes": 10**9}]
    result = judged(bundle, tmp_path / "baseline.json", benchmarks=worse)
    assert outcomes(result, "fail") == {"instructions"}
    assert {"latency_p50", "peak_rss"} <= outcomes(result, "skip")
    assert "its times and memory are not" in result.notes[0]
    strict = gates('[gate.latency_p50]\nat_most = "100 ms"\nmissing = "fail"')
    assert judged(bundle, benchmarks=[emulated], gates=strict).exit_code == 1


def test_another_processor_is_not_comparable(bundle, baseline):
    result = judged(bundle, baseline, benchmarks=[{"cpu": "Cortex-A76"}])
    assert {"latency_p50", "instructions"} <= outcomes(result, "unknown")
    assert "measured on Cortex-A76, but the baseline's on Cortex-A72" in " ".join(d.reason for d in result.decisions)


def test_other_images_are_not_comparable(bundle, baseline):
    evaluation = write_evaluation(bundle, expressions(), data="b" * 64)
    result = edgefer.check(bundle, baseline, evaluation=evaluation, benchmarks=[write_benchmark(bundle, **COUNTED)])
    assert outcomes(result, "unknown") == {"accuracy", "agreement", "recall"}


@pytest.mark.parametrize(("missing", "outcome"), [("fail", "fail"), ("unknown", "unknown"), ("skip", "skip")])
def test_what_missing_evidence_means_is_the_gates_choice(bundle, gates, missing, outcome):
    file = gates(f'[gate.accuracy]\nat_least = "60 %"\nmissing = "{missing}"')
    (decision,) = edgefer.check(bundle, gates=file).decisions
    assert decision.outcome == outcome
    assert "give --evaluation" in decision.reason


def test_evidence_that_the_baseline_has_is_never_skipped(bundle, baseline):
    result = edgefer.check(bundle, baseline, evaluation=write_evaluation(bundle, expressions()))
    assert result.exit_code == 5
    assert outcomes(result, "unknown") == {
        *("latency_p50", "latency_p90", "instructions", "peak_rss", "delegated", "load_time", "first_inference")
    }


def test_a_failed_gate_outweighs_one_that_cannot_be_told(tmp_path, baseline):
    result = edgefer.check(make_bundle(tmp_path, sizes=(5_000_000, 4_000_000)), baseline)
    assert (outcomes(result, "fail"), result.exit_code) == ({"size"}, 1)
    assert outcomes(result, "unknown")


def test_a_gate_for_one_place_leaves_others_alone(tmp_path, gates):
    bundle = make_bundle(tmp_path, sizes=(4_000_000, 9_000_000))
    file = gates('[gate.size]\nat_most = "8 MB"\nwhere = {format = "tflite"}')
    assert [(d.place, d.outcome) for d in edgefer.check(bundle, gates=file).decisions] == [("tflite", "pass")]


def test_an_evaluation_of_another_bundle_is_refused(tmp_path, bundle):
    other = write_evaluation(make_bundle(tmp_path, seed=1), expressions())
    with pytest.raises(InputError, match="is about another bundle: its tflite artifact is not this one's"):
        edgefer.check(bundle, evaluation=other)


def test_a_benchmark_of_another_bundle_is_refused(tmp_path, bundle):
    with pytest.raises(InputError, match="is about another bundle"):
        edgefer.check(bundle, benchmarks=[write_benchmark(make_bundle(tmp_path, seed=1))])


def test_the_document_follows_its_schema(tmp_path, bundle, baseline):
    worse = judged(make_bundle(tmp_path, seed=1), baseline, expressions(20), benchmarks=[{"status": "noisy"}])
    for result in (worse, judged(bundle, baseline), edgefer.check(bundle)):
        document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        jsonschema.validate(document, schema("check"))


def test_embeddings_that_turn_away_or_change_neighbours_fail_their_gates(tmp_path):
    reference = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)

    def answers(noise):
        artifact = reference + noise * np.random.default_rng(1).normal(size=reference.shape).astype(np.float32)
        return {"face": {"reference": reference, "tflite": artifact, "onnx": artifact}}

    bundle, other = (make_bundle(tmp_path, outputs=(EMBEDDING,), seed=seed) for seed in (0, 1))
    accepted = edgefer.check(bundle, evaluation=write_evaluation(bundle, answers(0.1)))
    (tmp_path / "baseline.json").write_text(accepted.baseline)
    gated = {"cosine_similarity", "neighbour_agreement"}
    worse = edgefer.check(other, tmp_path / "baseline.json", evaluation=write_evaluation(other, answers(0.5)))
    assert outcomes(worse, "fail") == gated
    equal = edgefer.check(bundle, tmp_path / "baseline.json", evaluation=write_evaluation(bundle, answers(0.1)))
    assert outcomes(equal, "pass") >= gated and not outcomes(equal, "unknown")
    assert outcomes(equal, "skip") >= {"accuracy", "accuracy_drop", "agreement"}
    assert outcomes(edgefer.check(bundle), "unknown") == gated
