"""Text from outside stays text in Markdown."""

import pytest

from edgefer.packaging.markdown import code, plain, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fer_b0.onnx", "fer_b0.onnx"),
        ("_leaning_ *bold*", r"\_leaning\_ \*bold\*"),
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script>"),
        ("[click](http://evil)", r"\[click](http://evil)"),
        ("two\nlines", r"two\\nlines"),
    ],
)
def test_nothing_is_taken_for_markup(text, shown):
    assert plain(text) == shown


def test_code_cannot_be_left():
    assert code("a`b|c\n") == r"`a b c\n`"


def test_a_table_is_aligned():
    assert table(["", "a", "b"], [["x", "1", "2"]]) == "|  | a | b |\n| --- | ---: | ---: |\n| x | 1 | 2 |\n\n"
