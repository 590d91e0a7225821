"""The page about boards, read as a document and laid out by a browser."""

from dataclasses import replace

import numpy as np
import pytest

from edgefer.board.instructions import CLASSES, Instructions
from edgefer.bundle import Artifact
from edgefer.device.comparison import BoardDrift, HeadDrift, Lsb
from edgefer.device.latency import Latency
from edgefer.device.results import ArtifactRun, Benchmark, Run, Settings, Timing
from edgefer.device.sustained import Sustained, Window
from edgefer.device.throughput import Streams, Throughput
from edgefer.device.verdict import Verdict
from edgefer.errors import DeviceError
from edgefer.evaluation.head_metrics import Estimate
from edgefer.evaluation.results import CrossRuntime, Drift
from edgefer.quantize.costs.machines import LITERT_X86
from edgefer.report import benchmark_report
from edgefer.spec import OutputSpec
from tests.report.browser import PROGRAM, Browser
from tests.report.document import MANIFEST, Document
from tests.report.test_report_in_browser import COLLISIONS, CONTRAST, OUTSIDE

HEAD = OutputSpec("expression", "expression", ("angry", "<happy>"), "softmax")
RUNTIME = {"name": "ai-edge-litert", "version": "2.3.0", "delegate": "XNNPACK"}


def latency(ms, seed):
    return Latency(np.random.default_rng(seed).lognormal(np.log(ms), 0.05, 300))


def throughput(ms):
    """On four cores, of which the fourth adds little."""
    cool = {"temperature_c": 60.0, "clock_hz": 1_500_000_000, "governor": "ondemand", "throttled": "0x4"}
    tried = [(1, 1, 1, 1.0), (1, 1, 2, 1.9), (1, 1, 4, 2.8), (1, 1, 8, 2.8), (1, 2, 2, 2.6), (8, 4, 1, 2.9)]
    return Throughput(
        tuple(
            Streams(b, t, n, 1000, ms / speed, n * ms / speed, 1.2 * n * ms / speed, 2 * ms, 50_000_000 * n, cool)
            for b, t, n, speed in tried
        )
    )


def half_an_hour(files, ms):
    """Throttled from a third on, when all become half as slow again."""
    windows = []
    for number in range(1, 91):
        hot = number > 30
        times = {file: ms * (place + 1) * (1.5 if hot else 1.0) for place, file in enumerate(files)}
        heat = {"temperature_c": 48 + min(number, 34), "clock_hz": 1_000_000_000 if hot else 1_500_000_000}
        heat = {**heat, "governor": "ondemand", "throttled": "0x4" if hot else "0x0"}
        windows.append(Window(20.0 * number, times, times, dict.fromkeys(files, 50), heat))
    return Sustained(1800.0, windows)


def artifact_run(file, precision, ms, *, emulated, steps=0):
    timing = Timing(1, 40.0, 2 * ms, 1.5, 0.4 * ms, latency(0.2, 1), latency(ms, 2), latency(0.02, 3), None, 60_000_000)
    lsb = Lsb(0.026, steps, 1 - steps / 100) if precision == "int8" else None
    head = HeadDrift(HEAD, Drift(0.1, 0.01, 24.0, Estimate(0.96, (0.9, 1.0))), 0.62, CrossRuntime(None, 1e-7, 1), lsb)
    return ArtifactRun(
        Artifact(file, file.rpartition(".")[2], precision, 5_000_000, "0" * 64, {}, 1),
        RUNTIME,
        timing,
        (timing,),
        {"total": 255, "delegated": 255},
        BoardDrift(64, (head,)),
        Instructions(dict.fromkeys(CLASSES, 1e6 * ms)) if emulated else None,
        None if emulated else throughput(ms),
    )


def device_run(name, factor, verdict, *, emulated=False, steps=0):
    cool = {"temperature_c": 48.3, "clock_hz": 1_500_000_000, "governor": "ondemand", "throttled": "0x0"}
    timeline = tuple({**cool, "t_s": t, "temperature_c": 48.3 + t, "artifact": "x", "settled": True} for t in range(9))
    device = {"name": name, "host": "h", "emulated": emulated, "model": "Raspberry Pi <4>", "cpu": "Cortex-A72"}
    runs = (
        artifact_run("faces_int8.tflite", "int8", factor, emulated=emulated, steps=steps),
        artifact_run("faces_int8.onnx", "int8", 2 * factor, emulated=emulated),
        artifact_run("faces_fp32.onnx", "float32", 3 * factor, emulated=emulated),
    )
    artifacts = {run.artifact.file: run for run in runs}
    costs = replace(LITERT_X86, machine=name) if name == "pi5" else None
    sustained = None if name == "pi4" else half_an_hour(artifacts, factor)
    return Run({**device, "kernel": "Linux 6.6"}, verdict, cool, cool, timeline, artifacts, costs, None, sustained)


def measured(*, failed=False):
    runs = (
        device_run("pi5", 2.0, Verdict("trusted", ())),
        device_run("pi4", 5.0, Verdict("throttled", ("it was 84.5 C hot",)), steps=3),
        device_run("a72", 90.0, Verdict("trusted", ("EMULATED: its milliseconds mean nothing",)), emulated=True),
    )
    failures = {"<lab>": DeviceError("<lab> (pi@lab): cannot be reached")} if failed else {}
    data = {"source": "<faces>.npz", "samples": 64}
    return Benchmark({"name": "faces"}, data, Settings(threads=(1, 4)), runs, failures)


def read(**options):
    return Document(benchmark_report(MANIFEST, measured(**options)))


def test_the_page_is_well_formed_and_escapes_what_it_is_told():
    document = read(failed=True)
    assert document.open == []
    assert "Raspberry Pi <4>" in document.text
    assert "<lab> (pi@lab): cannot be reached" in document.text


def test_every_run_has_its_verdict():
    text = read().text
    assert "2 of 3 runs are evidence." in text
    assert "throttled pi4: it was 84.5 C hot" in text


def test_a_board_that_failed_is_no_evidence():
    assert "2 of 4 runs are evidence." in read(failed=True).text


def test_int8_is_compared_with_float_but_not_in_emulated_milliseconds():
    words = read().text
    table = words[words.index("Against ONNX fp32") : words.index("pi5: Raspberry")]
    assert "pi5: TFLite int8 3.00" in table
    assert "a72 (EMULATED): TFLite int8 3.00" in table
    assert table.count("3.00") == 3


def test_emulated_milliseconds_are_labelled_wherever_they_stand():
    text = read().text
    assert "invoke p50, ms, emulated" in text
    assert "milliseconds (emulated: they mean nothing)" in text
    times = text[text.index("Median time of an inference") : text.index("Instructions of an inference")]
    assert "pi4: TFLite int8" in times
    assert "a72" not in times


def test_a_board_that_computes_something_else_is_told():
    assert "NO: 3 LSB, 97.0 % equal" in read().text


def test_frames_per_second_are_told_with_how_long_each_waits():
    words = read().text
    table = words[words.index("Frames per second") :]
    assert "one stream 500 (2, 2.4, throttled) 250 (4, 4.8, throttled)" in table
    assert "saturated by 4 side by side" in table
    assert "memory of 4 side by side 200.00 MB" in table


def test_a_sustained_run_is_told_with_heat_and_clock_but_not_those_of_an_emulated_board():
    real, emulated = read().text.split("a72 (EMULATED): Raspberry Pi")
    assert "times slower 1.50 1.50 1.50" in real
    assert "steady from minute 10.0 on; temperature: from 49.0 to 82.0 C" in real
    assert "clock: from 1500 to 1000 MHz, between 1000 and 1500; throttled from minute 10.3 on" in real
    assert real.count("Temperature, sustained") == 2  # the figure's heading and its title
    assert "temperature and clock: an emulated board has none" in emulated
    assert "Temperature, sustained" not in emulated


def test_what_operators_cost_is_told_where_it_was_measured():
    text = read().text
    assert text.count("What operators cost") == 1
    line = LITERT_X86.lines["Sigmoid", "int8"]
    assert f"Sigmoid int8 {line.per_node:.3g} {line.per_element:.3g} {line.per_mac:.3g}" in text


def test_equal_results_give_equal_documents():
    assert benchmark_report(MANIFEST, measured()) == benchmark_report(MANIFEST, measured())


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("chromium is not installed")
    tab = Browser(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_is_readable(browser, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    path.write_text(benchmark_report(MANIFEST, measured(failed=True)), "utf-8")
    browser.show(path, width, scheme)
    assert browser.evaluate(OUTSIDE) == []
    assert browser.evaluate(COLLISIONS) == []
    ratio, text = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    assert browser.seen("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
