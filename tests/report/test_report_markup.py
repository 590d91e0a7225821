from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.report.markup import Html, facts, html, join, page, section, table


class Text(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")))
def test_a_value_is_text_and_never_markup(value: str) -> None:
    parsed = Text(html('<p title="{value}">{value}</p>', value=value))
    assert parsed.tags == ["p"]
    assert parsed.text == value


def test_markup_inside_markup_stays() -> None:
    assert html("<p>{inner}</p>", inner=html("<b>{text}</b>", text="<")) == "<p><b>&lt;</b></p>"
    assert join([Html("<i>"), Html("</i>")], "") == "<i></i>"


@pytest.mark.parametrize(("value", "shown"), [(1234567, "1,234,567"), (0.5, "0.5")])
def test_a_value_takes_a_format(value: float, shown: str) -> None:
    assert html("{value:,}", value=value) == shown


def test_sections_tables_and_facts_escape_what_they_are_given() -> None:
    hostile = "<script>"
    parts = section(hostile, facts([(hostile, hostile)]), table(hostile, [hostile], [(hostile, [hostile])]))
    document = page(hostile, parts)
    assert "script" not in Text(document).tags
    assert document.count("&lt;script&gt;") == 9


def test_a_page_forbids_itself_every_request() -> None:
    assert "default-src 'none'" in page("title", Html(""))
