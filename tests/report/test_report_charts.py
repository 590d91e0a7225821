import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.evaluation.head_metrics import Bin
from edgefer.report import charts
from edgefer.report.charts import Lane, Scale, Spot, Whisker

NUMBER = st.floats(-1e6, 1e6, allow_subnormal=False)
HOSTILE = '"><script>'


def drawn(chart):
    """The chart's elements, after checking that it is XML and that every position is a number."""
    root = ElementTree.fromstring(chart)
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"):
            if name in element.attrib:
                assert re.fullmatch(r"-?\d+(\.\d+)?%?", element.attrib[name]), element.attrib
    return root


def marks(root, series):
    return [e for e in root.iter() if e.get("class") == f"mark {series}"]


def percent(element, name):
    return float(element.get(name).removesuffix("%"))


def texts(root, kind):
    return [e.text for e in root.iter("text") if kind in e.get("class", "").split()]


WHISKERS = [
    Whisker("TFLite int8", "0.6", 0.6, (-0.1, 1.3), "tflite"),
    Whisker("ONNX int8", "0.5", 0.5, None, "onnx"),
]


def test_whiskers_have_a_mark_per_row_and_two_caps_per_interval():
    root = drawn(charts.whiskers("Lost", WHISKERS))
    assert len(marks(root, "tflite")) == len(marks(root, "onnx")) == 1
    assert [e.get("class") for e in root.iter("line") if e.get("class", "").startswith("cap")] == ["cap tflite"] * 2
    assert texts(root, "label") == ["TFLite int8", "ONNX int8"]
    assert texts(root, "value") == ["0.6", "0.5"]
    assert root.find("title").text == "Lost"


def test_whiskers_end_where_the_interval_ends():
    root = drawn(charts.whiskers("Lost", WHISKERS))
    whisker = next(e for e in root.iter("line") if e.get("class") == "whisker tflite")
    x = percent(marks(root, "tflite")[0], "cx")
    low, high = percent(whisker, "x1"), percent(whisker, "x2")
    assert (x - low) / (high - low) == pytest.approx(0.7 / 1.4, abs=1e-3)


def test_the_bound_is_inside_the_chart_however_far_it_is():
    root = drawn(charts.whiskers("Lost", WHISKERS, bound=50))
    line = next(e for e in root.iter("line") if e.get("class") == "bound")
    assert 90 < percent(line, "x1") < 100
    assert "bound 50" in texts(root, "axis")


def test_nothing_is_drawn_above_the_highest_possible_value():
    row = Whisker("TFLite", "100", 100, None, "tflite")
    root = drawn(charts.whiskers("Agreement", [row], origin=100, highest=100))
    assert percent(marks(root, "tflite")[0], "cx") == 100
    assert max(map(float, texts(root, "axis"))) == 100


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER).map(sorted), min_size=1, max_size=5))
def test_every_whisker_is_inside_the_chart(rows):
    root = drawn(charts.whiskers("t", [Whisker("a", "b", v, (low, high), "tflite") for low, v, high in rows]))
    found = marks(root, "tflite")
    assert len(found) == len(rows)
    assert all(0 <= percent(mark, "cx") <= 100 for mark in found)
    assert all(0 <= percent(e, "x1") <= 100 for e in root.iter("line"))


def test_lanes_leave_out_what_is_unknown():
    rows = [
        Lane("happy (9)", "1 -> 2", 80, {"tflite": 70, "onnx": 71}),
        Lane("sad (0)", "? -> 2", None, {"tflite": 40, "onnx": None}),
    ]
    root = drawn(charts.lanes("Recall", rows, Scale(0, 100)))
    assert [percent(mark, "cx") for mark in marks(root, "tflite")] == [70, 40]
    assert [percent(mark, "x") for mark in marks(root, "onnx")] == [71]
    assert [e.get("class") for e in root.iter("line")].count("tick fp32") == 1


def test_reliability_draws_only_bins_with_images_and_their_area_is_their_count():
    bins = (Bin(0, 0.5, 1, 0.4, 0.2), Bin(0.5, 0.8, 0, None, None), Bin(0.8, 1, 100, 0.9, 1.0))
    root = drawn(charts.reliability("Reliability", {"fp32": bins, "tflite": bins[2:]}, height=200))
    dots = [e for e in root.iter("circle") if e.get("class") == "dot fp32"]
    assert [(percent(dot, "cx"), percent(dot, "cy")) for dot in dots] == [(40, 160), (90, 0)]
    assert percent(dots[0], "r") < percent(dots[1], "r")
    assert [e.get("class") for e in root.iter("line")].count("curve fp32") == 1


def test_the_profile_numbers_the_tensors_it_is_told_to():
    series = {"tflite": [30.0, 5.0, None], "onnx": [30.0, 4.0, 20.0]}
    root = drawn(charts.profile("SQNR", ["a", "b", "c"], series, numbered=[1]))
    dots = list(root.iter("circle"))
    assert [dot.find("title").text for dot in dots] == [
        "a: 30.0 dB",
        "b: 5.0 dB",
        "a: 30.0 dB",
        "b: 4.0 dB",
        "c: 20.0 dB",
    ]
    assert texts(root, "number") == ["1"]
    assert percent(next(e for e in root.iter("text") if e.get("class") == "number"), "y") == percent(dots[3], "cy")


@given(st.lists(st.one_of(st.none(), st.floats(-200, 200)), min_size=1, max_size=30).filter(any))
def test_a_profile_has_a_dot_per_known_value(values):
    root = drawn(charts.profile("SQNR", [str(index) for index in range(len(values))], {"tflite": values}))
    assert len(list(root.iter("circle"))) == sum(value is not None for value in values)


SPOTS = [Spot("full", 1.0, 14.0), Spot("mixed", 1.1, 20.0, is_chosen=True), Spot("float", 1.3, 24.0)]


def frontier(spots=SPOTS, **options):
    given = {"across": Scale(0.9, 1.4), "origin": 1.0, "more_is_better": True, "bound_across": 1.2, **options}
    return drawn(charts.frontier("Noise", "Three choices", spots, **given))


def bounds_of(root):
    return [e for e in root.iter("line") if e.get("class") == "bound"]


def test_a_frontier_has_a_named_dot_per_choice_and_says_what_it_shows():
    root = frontier()
    dots = [e for e in root.iter("circle") if e.get("class") == "dot plain"]
    assert [dot.find("title").text for dot in dots] == ["full", "mixed", "float"]
    assert [percent(dot, "cx") for dot in dots] == pytest.approx([20, 40, 80])
    assert [percent(dot, "cy") for dot in dots] == sorted((percent(dot, "cy") for dot in dots), reverse=True)
    assert (root.find("title").text, root.find("desc").text) == ("Noise", "Three choices")


@pytest.mark.parametrize(("more_is_better", "levels"), [(True, [20, 20, 20]), (False, [14, 14, 12])])
def test_the_line_of_a_frontier_is_at_the_best_of_what_costs_no_more(more_is_better, levels):
    spots = [Spot("", 1.0, 14.0), Spot("", 1.1, 20.0), Spot("", 1.2, 17.0), Spot("", 1.3, 12.0)]
    root = frontier(spots, more_is_better=more_is_better)
    dots = {spot.y: percent(dot, "cy") for spot, dot in zip(spots, root.iter("circle"), strict=True)}
    lines = [e for e in root.iter("line") if e.get("class") == "curve plain thin"]
    flat = [e for e in lines if e.get("y1") == e.get("y2")]
    assert [percent(e, "x1") for e in flat] == pytest.approx([20, 40, 60])
    reached = [percent(e, "y1") for e in flat] + [percent(lines[-1], "y2")]
    assert reached == [dots[level] for level in (14, *levels)]


def test_only_the_chosen_one_has_a_ring_and_a_word_which_is_below_all_dots():
    root = frontier()
    (ring,) = (e for e in root.iter("circle") if e.get("class") == "ring")
    (word,) = (e for e in root.iter("text") if e.get("class") == "number")
    assert (percent(ring, "cx"), percent(word, "x"), word.text) == (40, 40, "chosen")
    lowest = max(percent(e, "cy") for e in root.iter("circle"))
    assert lowest + charts.TEXT < percent(word, "y")
    assert texts(frontier([SPOTS[0], SPOTS[2]]), "number") == []


def test_a_frontier_has_lines_where_its_bounds_are():
    (across,) = bounds_of(frontier())
    assert percent(across, "x1") == percent(across, "x2") == pytest.approx(60)
    root = frontier(bound_upward=20.0)
    _, upward = bounds_of(root)
    chosen = next(e for e in root.iter("circle") if e.get("class") == "ring")
    assert percent(upward, "y1") == percent(upward, "y2") == percent(chosen, "cy")
    assert {"bound 1.2", "bound 20"} <= set(texts(root, "axis"))


def test_the_scale_of_a_frontier_reaches_what_it_is_told_to():
    assert "0" not in texts(frontier(), "side")
    assert "0" in texts(frontier(reached=[0.0]), "side")


@pytest.mark.parametrize(("bound", "at"), [(23.0, "0%"), (15.0, "100%")])
def test_a_bound_is_named_where_no_dots_are(bound, at):
    word = next(e for e in frontier(bound_upward=bound).iter("text") if e.text == f"bound {bound:g}")
    assert word.get("x") == at


@given(st.lists(st.tuples(st.floats(1, 2), NUMBER), min_size=1, max_size=9), NUMBER, NUMBER)
def test_every_choice_and_bound_is_inside_the_frontier(pairs, reached, bound):
    spots = [Spot("", x, y, is_chosen=index == 0) for index, (x, y) in enumerate(sorted(pairs))]
    root = frontier(spots, across=Scale(0.9, 2.1), reached=[reached], bound_upward=bound, height=220)
    assert all(14 <= percent(e, "cy") <= 206 for e in root.iter("circle"))
    assert all(0 <= percent(e, "y1") <= 220 for e in bounds_of(root))


def test_text_is_escaped_in_every_chart():
    bins = (Bin(0, 1, 1, 0.4, 0.2),)
    for chart in (
        charts.whiskers(HOSTILE, [Whisker(HOSTILE, HOSTILE, 0, (0, 1), HOSTILE)]),
        charts.lanes(HOSTILE, [Lane(HOSTILE, HOSTILE, 1, {HOSTILE: 1})], Scale(0, 1)),
        charts.reliability(HOSTILE, {HOSTILE: bins}),
        charts.profile(HOSTILE, [HOSTILE], {HOSTILE: [1.0]}),
        charts.frontier(
            HOSTILE,
            HOSTILE,
            [Spot(HOSTILE, 0, 0, True)],
            across=Scale(0, 1),
            origin=0,
            more_is_better=True,
            bound_across=1,
        ),
        charts.legend({HOSTILE: HOSTILE}),
    ):
        assert not list(ElementTree.fromstring(chart).iter("script"))


def test_long_labels_are_cut():
    root = drawn(charts.whiskers("t", [Whisker("x" * 100, "", 0, None, "tflite")]))
    assert texts(root, "label") == ["x" * 29 + "…"]


@given(NUMBER, st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_inside(low, span):
    scale = Scale(low, low + span)
    if scale.high - scale.low < 1e-9 * abs(low):
        return
    found = charts.ticks(scale)
    assert 1 <= len(found) <= 7
    assert all(-1e-6 <= scale.percent(tick) / 100 <= 1 + 1e-6 for tick in found)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Scale(0, 100), (0, 20, 40, 60, 80, 100)),
        (Scale(-0.2, 1.3), (0, 0.5, 1)),
        (Scale(91.0, 100.4), (92, 94, 96, 98, 100)),
    ],
)
def test_ticks_are_what_a_person_would_choose(scale, expected):
    assert charts.ticks(scale) == expected


@pytest.mark.parametrize(("value", "shown"), [(-0.25, "\N{MINUS SIGN}0.25"), (-0.001, "0.00"), (1.5, "1.50")])
def test_numbers_have_a_real_minus_and_no_negative_zero(value, shown):
    assert charts.signed(value, 2) == shown
