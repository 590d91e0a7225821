"""Hours on a board: of boards that are made up, with a clock that is made up, and of this machine for seconds."""

import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from click import BadParameter

import edgefer
from edgefer.cli.benchmark import _duration, summary
from edgefer.device import sustained, sustained_agent
from edgefer.device.results import Settings
from edgefer.device.sustained import WINDOWS, Sustained, Window
from edgefer.report import benchmark_report

SILENT = {"temperature_c": None, "clock_hz": None, "governor": None, "throttled": None}


def measured(*columns, throttled=(), asked=1800.0):
    """Artifacts a, b, ... whose time in each window is given."""
    found = Sustained(asked)
    for number, times in enumerate(zip(*columns, strict=True), 1):
        by_name = dict(zip("abc", times, strict=False))
        flags = {**SILENT, "throttled": "0x4"} if number in throttled else SILENT
        t_s = asked * number / len(columns[0])
        found.windows.append(Window(t_s, by_name, by_name, dict.fromkeys(by_name, 10), flags))
    return found


def test_it_is_steady_from_where_the_last_artifact_is():
    early, late = np.full(90, 4.0), np.full(90, 8.0)
    early[:10], late[:30] = 3.0, 6.0
    assert measured(early, late).steady_s == pytest.approx(1800 * 30 / 90)


def test_a_curve_that_creeps_up_is_steady_when_it_is_near_its_end():
    times = 5 - 2 * np.exp(-np.arange(90) / 15)
    assert 1800 * 25 / 90 < measured(times).steady_s < 1800 * 45 / 90


def test_times_that_never_change_are_steady_from_the_start():
    assert measured(np.full(90, 2.0)).steady_s == 0


def test_one_window_in_which_the_board_did_something_else_decides_nothing():
    times = np.full(90, 2.0)
    times[85] = 9.0
    assert measured(times).steady_s == 0


@pytest.mark.parametrize("times", [np.linspace(2, 4, 90), np.tile([1.0, 1, 1, 2, 2, 2], 15), np.full(6, 2.0)])
def test_what_still_changes_or_is_short_is_not_called_steady(times):
    assert measured(times).steady_s is None


def test_artifacts_are_ranked_at_the_start_and_at_the_end():
    found = measured(np.linspace(2, 5, 90), np.linspace(3, 4, 90), throttled=range(40, 60))
    assert list(found.at_start()) == ["a", "b"]
    assert list(found.at_end()) == ["b", "a"]
    assert found.at_end()["b"] == pytest.approx(4, abs=0.05)
    assert found.throttled_s == pytest.approx(1800 * 40 / 90)


def press_control_c():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


class Runner:
    """Takes a time of its own for each inference, by a clock that stands still otherwise."""

    def __init__(self, now, cost):
        self.now, self.cost = now, cost

    def load(self):
        pass

    def feed(self, pixels):
        pass

    def read(self):
        pass

    def invoke(self):
        self.now[0] += self.cost(self.now[0])


def run_agent(monkeypatch, tmp_path, costs, seconds):
    np.save(tmp_path / "pixels.npy", np.zeros((2, 4, 4, 3), np.uint8))
    now, events, left = [0], [], list(costs)
    agent = SimpleNamespace(
        open_runner=lambda *_: Runner(now, left.pop(0)), conditions=lambda: {**SILENT, "temperature_c": now[0] / 1e9}
    )
    monkeypatch.setattr(sustained_agent, "clock", lambda: now[0])
    paths = {"pixels": str(tmp_path / "pixels.npy"), "probe": "", "model0": "", "model1": ""}
    sustained_agent.main(agent, events.append, paths, ["tflite"] * len(costs), 1, seconds, WINDOWS)
    return events


def test_half_an_hour_is_told_window_by_window(monkeypatch, tmp_path):
    slower = 600e9  # when the first artifact takes half as long again
    costs = (lambda t: 40_000_000 * (1 if t < slower else 1.5), lambda t: 50_000_000)
    events = run_agent(monkeypatch, tmp_path, costs, 1800.0)
    assert len(events) == WINDOWS
    found = Sustained(1800.0, [sustained._window(event, ("a", "b")) for event in events])
    assert found.is_complete
    assert found.steady_s == pytest.approx(600, abs=40)
    assert list(found.at_start().items()) == [("a", 40.0), ("b", 50.0)]
    assert list(found.at_end().items()) == [("b", 50.0), ("a", 60.0)]
    shares = [sum(window.frames[name] * window.p50[name] for window in found.windows) for name in "ab"]
    assert shares[0] == pytest.approx(shares[1], rel=0.1)  # in turns of equal length
    assert found.windows[9].conditions["temperature_c"] == pytest.approx(200, abs=3)


def test_frames_that_take_longer_than_a_window_make_fewer_windows(monkeypatch, tmp_path):
    events = run_agent(monkeypatch, tmp_path, [lambda t: 300_000_000], 9.0)
    assert len(events) == 30
    assert all(event["artifacts"][0]["frames"] == 1 for event in events)


def test_this_machine_is_measured_until_it_is_interrupted(board, tiny, monkeypatch):
    heard = []

    def third(event, names, real=sustained._window):
        heard.append(event)
        if len(heard) == 3:
            press_control_c()
        return real(event, names)

    monkeypatch.setattr(sustained, "_window", third)
    few = Settings(frames=8, seconds=0.0, warmup=1)
    found = edgefer.benchmark(tiny, [board()], settings=few, formats=["tflite", "fp32"], duration=27.0)
    (run,) = found.runs
    assert 3 <= len(run.sustained.windows) < 30
    assert set(run.sustained.at_end()) == {"tiny_int8.tflite", "tiny_fp32.onnx"}
    assert run.verdict.status == "incomplete"
    assert "it was interrupted before all was measured" in run.verdict.reasons
    assert not found.trusted
    assert "interrupted after" in summary(found)
    assert "Inference times, sustained" in benchmark_report(tiny.manifest, found)


def test_an_interruption_before_anything_was_measured_is_one(board, tiny, monkeypatch):
    def interrupt(*arguments, **options):
        press_control_c()
        return real(*arguments, **options)

    from edgefer.device import on_board

    real = on_board._measure
    monkeypatch.setattr(on_board, "_measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        edgefer.benchmark(tiny, [board()], settings=Settings(seconds=60.0), formats=["tflite"])


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("", 0)])
def test_a_duration_has_a_unit(text, seconds):
    assert _duration(None, None, text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "0s", "-5m", "1d", "5 m 3 s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(BadParameter, match="30m"):
        _duration(None, None, text)
