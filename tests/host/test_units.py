import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.errors import UsageError
from edgefer.host.units import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8MB", 8_000_000),
        ("8 MiB", 8_388_608),
        ("8mb", 8_000_000),
        ("7.5MB", 7_500_000),
        ("0.1 GB", 100_000_000),
        ("512KiB", 524_288),
        ("8000000", 8_000_000),
        ("  9 B ", 9),
        ("1" + "0" * 400, 10**400),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "0.1B", "8 Mio", "8M", "1e6", "1,5MB", "nan", "inf", "8MB!"])
def test_what_is_no_size_is_an_error_that_shows_how_to_write_one(text):
    with pytest.raises(UsageError, match="is not a size") as raised:
        parse_size(text)
    assert "8MiB (8,388,608)" in raised.value.remedy


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (4_883_280, "4.88 MB"), (8 * 2**20, "8.39 MB")]
)
def test_sizes_are_written_in_decimal_units(size, text):
    assert format_size(size) == text


@given(st.integers(1, 10**12))
def test_a_written_size_reads_back_to_three_figures(size):
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.006)
