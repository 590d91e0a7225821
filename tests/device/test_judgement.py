"""Statistics of times, differences in least significant bits, and verdicts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.device.comparison import lsb
from edgefer.device.latency import Latency, quantile, quantile_interval
from edgefer.device.verdict import judge
from edgefer.spec import OutputSpec

HEAD = OutputSpec("expression", "expression", ("a", "b", "c"), "softmax")
MACHINE = {"emulated": False, "cpu_lists": True, "kernel": "Linux 6.6", "machine": "aarch64"}
COOL = {"temperature_c": 50.0, "clock_hz": 2_400_000_000, "governor": "ondemand", "throttled": "0x0", "settled": True}
STEADY = Latency(np.random.default_rng(0).normal(5, 0.01, 1024))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def verdict(*changes, machine=(), times=STEADY, **options):
    conditions = [COOL, *({**COOL, **change} for change in changes), COOL]
    return judge({**MACHINE, **dict(machine)}, conditions, {"x": times}, **options)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_a_sample_that_enough_do_not_exceed(samples, q):
    found = quantile(np.array(samples), q)
    assert found in samples
    assert np.mean(np.array(samples) <= found) >= q


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_the_interval_of_a_quantile_is_that_of_drawing_samples(q):
    samples = np.random.default_rng(2).lognormal(size=400)
    drawn = np.random.default_rng(3).choice(samples, (4000, len(samples)))
    expected = np.quantile(np.quantile(drawn, q, axis=1, method="inverted_cdf"), [0.025, 0.975])
    assert quantile_interval(samples, q) == pytest.approx(tuple(expected), rel=0.03)


def test_equal_samples_have_an_interval_of_one_point():
    assert quantile_interval(np.full(9, 3.0), 0.5) == (3.0, 3.0)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.floats(0.01, 0.3))
def test_differences_are_counted_in_integers_before_the_activation(seed, step, scale):
    rng = np.random.default_rng(seed)
    host = rng.integers(-20, 20, (30, 3))
    board = host.copy()
    lowest = 2 - host[0, ::-1].argmin()  # the last, where all are equal: the first is what the others are measured from
    board[0, lowest] -= step
    found = lsb(HEAD, softmax(host * scale), softmax(board * scale), scale)
    assert (found.max, found.share_equal) == (step, 1 if step == 0 else 89 / 90)


def test_two_ways_to_compute_exponentials_are_equal_integers():
    host = softmax(np.random.default_rng(0).integers(-128, 128, (50, 3)) * 0.03)
    assert lsb(HEAD, host, np.nextafter(host, np.float32(1)), 0.03).max == 0


def test_a_cool_and_steady_run_is_trusted():
    assert verdict().status == "trusted"
    assert verdict().reasons == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"throttled": "0x4"}, "throttled"),
        ({"throttled": "0x1"}, "under-voltage"),
        ({"throttled": "0x40000"}, "throttled"),
        ({"temperature_c": 84.5}, "84.5 C"),
        ({"clock_hz": 1_500_000_000}, "2400 to 1500 MHz"),
    ],
)
def test_a_run_in_which_the_board_slowed_down_is_throttled(change, words):
    found = verdict(change)
    assert found.status == "throttled"
    assert words in found.reasons[0]


def test_what_happened_before_the_run_does_not_count():
    old = {"throttled": "0x50000"}
    assert judge(MACHINE, [{**COOL, **old}] * 3, {"x": STEADY}).status == "trusted"


def test_a_clock_that_rests_between_paced_frames_is_fine():
    assert verdict({"clock_hz": 600_000_000}, paced=True).status == "trusted"
    assert verdict({"clock_hz": 600_000_000, "settled": False}).status == "trusted"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.random.default_rng(0).lognormal(0, 2, 200), "interval"),
        (np.linspace(5, 8, 4000), "wandered"),
        (np.r_[1.0, np.full(3999, 2.0)], "fastest"),
    ],
)
def test_times_that_decide_nothing_are_noisy(samples, words):
    found = verdict(times=Latency(samples))
    assert found.status == "noisy"
    assert words in found.reasons[0]


def test_a_clock_that_was_set_during_the_run_is_noise():
    assert "+3600.0 s" in verdict(jump_s=3600.0).reasons[0]
    assert verdict(jump_s=3600.0).status == "noisy"
    assert verdict(jump_s=0.01).status == "trusted"


def test_a_missing_runtime_makes_a_run_incomplete_whatever_else():
    found = verdict({"throttled": "0x4"}, missing=["onnxruntime is not installed"])
    assert found.status == "incomplete"
    assert len(found.reasons) == 2


def test_kernels_that_were_chosen_blindly_make_a_run_incomplete():
    assert verdict(machine={"cpu_lists": False}).status == "incomplete"


def test_an_emulated_board_says_so_and_cannot_be_noisy():
    found = verdict(machine={"emulated": True}, times=Latency(np.random.default_rng(0).lognormal(0, 2, 200)))
    assert found.status == "trusted"
    assert "EMULATED" in found.reasons[0]
    assert verdict({"throttled": "0x4"}, machine={"emulated": True}).status == "throttled"
