from edgefer.sweeping.request import Limits
from edgefer.sweeping.results import Pace, Point, Score, Sweep
from edgefer.sweeping.summary import verdict


def point(name, drop, size, ms):
    score = Score(0.7, drop, 0.9, drop)
    return Point("net", {"effort": name}, "tflite", name, size, {"faces": score}, {"pi": Pace(ms, "ms", True)})


SLOW, FAST = point("slow", 0.1, 4_000, 9), point("fast", 0.9, 4_000, 3)
BEATEN, LARGE = point("beaten", 1, 4_000, 9), point("large", 0.1, 9_000, 2)


def sweep(**limits):
    return Sweep("all", (SLOW, FAST, BEATEN, LARGE), (), Limits(**limits), ("pi",))


def test_the_front_is_what_no_other_point_beats():
    assert sweep().front == (SLOW, FAST, LARGE)


def test_the_fastest_that_keeps_all_bounds_is_recommended():
    assert sweep().recommended is LARGE
    assert sweep(budget=5_000).recommended is FAST
    assert sweep(budget=5_000, max_drop=0.5).recommended is SLOW


def test_where_none_keeps_them_each_of_the_front_says_why():
    found = sweep(budget=5_000, latency_ms=1, max_drop=0.5)
    assert found.recommended is None
    assert verdict(found)[0] == "None of 4 artifacts keeps all bounds on all boards."
    assert "fast, tflite: the drop is 0.90 points, and may be 0.5; a frame takes 3 ms on pi, and may take 1" in verdict(
        found
    )


def test_a_point_that_was_not_measured_on_all_boards_is_not_recommended():
    found = Sweep("all", (point("a", 0, 1, 1),), (), Limits(), ("pi", "phone"))
    assert found.recommended is None


def test_times_that_are_no_evidence_are_told():
    doubtful = Point("net", {}, "tflite", "a", 1, SLOW.scores, {"pi": Pace(9, "ms", False)})
    assert "Its time on pi is no evidence" in verdict(Sweep("all", (doubtful,), (), Limits(), ("pi",)))[1]
