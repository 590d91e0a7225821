import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.gates.quantity import COUNT, POINTS, SCORE, SHARE, SIZE, TIME, change, level


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("8 MB", SIZE, 8_000_000),
        ("8MiB", SIZE, 8 * 2**20),
        ("2 ms", TIME, 2),
        ("150 us", TIME, 0.15),
        ("160 M instructions", COUNT, 160e6),
        ("95 %", SHARE, 95),
        ("0.5 points", POINTS, 0.5),
        (0.55, SCORE, 0.55),
    ],
)
def test_a_level_carries_its_unit(text, dimension, value):
    assert level(text, dimension).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "dimension", "value", "relative"),
    [
        ("1 %", SIZE, 0.01, True),
        ("1.10x", TIME, 0.10, True),
        ("0.2 ms", TIME, 0.2, False),
        ("10 kB", SIZE, 10_000, False),
        ("0.5 points", SHARE, 0.5, False),
        ("1 point", SHARE, 1, False),
        (0.02, SCORE, 0.02, False),
    ],
)
def test_a_change_says_whether_it_is_a_share_or_an_amount(text, dimension, value, relative):
    found = change(text, dimension)
    assert (found.value, found.relative) == (pytest.approx(value), relative)


@pytest.mark.parametrize("dimension", [SIZE, TIME, COUNT, SHARE, POINTS])
@given(number=st.one_of(st.integers(), st.floats(allow_nan=False), st.just(True)))
def test_a_bare_number_is_an_error_that_names_the_choices(dimension, number):
    for read in (level, change):
        with pytest.raises(ValueError, match=r'write .*"1 '):
            read(number, dimension)


def test_percent_of_a_share_is_an_error_that_asks_for_points():
    with pytest.raises(ValueError, match=r"""'1 %' is not such a quantity: write "1 point"$"""):
        change("1 %", SHARE)


def test_points_are_no_level_of_a_share():
    with pytest.raises(ValueError, match=r'write "1 %"$'):
        level("60 points", SHARE)


@pytest.mark.parametrize("written", ["0.5 points", "50 %", "0.5"])
def test_a_quantity_without_unit_is_a_plain_number(written):
    with pytest.raises(ValueError, match="has no unit"):
        level(written, SCORE)


@pytest.mark.parametrize(
    "written", ["8 mb", "8 Mbit", "-8 MB", "1e6 B", "eight MB", "", "1.10x", None, ["8 MB"], float("nan")]
)
def test_what_is_not_exactly_a_quantity_is_refused(written):
    with pytest.raises(ValueError, match=r"write"):
        level(written, SIZE)


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match=r"write 1\.10x"):
        change("0.9x", TIME)


def test_changes_are_written_with_sign_and_unit():
    assert SHARE.write_change(-2.0, relative=False) == "-2.00 points"
    assert TIME.write_change(0.051, relative=True) == "+5.10 %"
    assert SIZE.write_change(-1200, relative=False) == "-1.20 kB"
    assert COUNT.write_change(2e6, relative=False) == "+2.00 M instructions"
