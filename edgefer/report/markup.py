"""HTML that is safe by construction: every value is escaped unless it is `Html` already.

html("<p>{name} has {count:,} bytes</p>", name=file.name, count=file.size)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Formatter
from typing import LiteralString


class Html(str):
    """Markup, as opposed to text that must be escaped."""

    __slots__ = ()


def html(template: LiteralString, **values: object) -> Html:
    """Fill a template; a value that is no `Html` is formatted, then escaped.

    The template itself is trusted, and so must be a literal.
    """
    return Html(_FORMATTER.vformat(template, (), values))


def join(parts: Iterable[Html], between: LiteralString = "\n") -> Html:
    """Concatenate markup."""
    return Html(between.join(parts))


def page(title: str, body: Html) -> Html:
    """A whole document with the report's style inside, which forbids itself every request."""
    style = Html(files(__package__).joinpath("style.css").read_text("utf-8"))
    return html(_PAGE, title=title, style=style, body=body)


def section(title: str, *parts: Html) -> Html:
    """A titled part of a page."""
    return html("<section>\n<h2>{title}</h2>\n{body}\n</section>", title=title, body=join(parts))


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names and values, one pair under the other."""
    items = (html("<div><dt>{name}</dt><dd>{value}</dd></div>", name=name, value=value) for name, value in pairs)
    return html("<dl>\n{items}\n</dl>", items=join(items))


def side_by_side(parts: Iterable[Html]) -> Html:
    """Figures or tables beside each other, as far as the page is wide enough."""
    return html('<div class="charts">\n{parts}\n</div>', parts=join(parts))


def table(caption: str, head: Sequence[object], rows: Iterable[tuple[str, Sequence[object]]]) -> Html:
    """A table with a name for each row and column; values are numbers, aligned right.

    It scrolls by itself, also by keyboard, where the page is narrower.
    """
    columns = join((html('<th scope="col">{cell}</th>', cell=cell) for cell in head), "")
    lines = (
        html(
            '<tr><th scope="row">{name}</th>{cells}</tr>',
            name=name,
            cells=join((html("<td>{cell}</td>", cell=cell) for cell in cells), ""),
        )
        for name, cells in rows
    )
    return html(
        '<div class="scroll" role="region" aria-label="{caption}" tabindex="0">\n'
        "<table>\n<caption>{caption}</caption>\n<thead><tr><td></td>{columns}</tr></thead>\n"
        "<tbody>\n{rows}\n</tbody>\n</table>\n</div>",
        caption=caption,
        columns=columns,
        rows=join(lines),
    )


class _EscapingFormatter(Formatter):
    def format_field(self, value: object, format_spec: str) -> str:
        return value if isinstance(value, Html) else escape(format(value, format_spec))


_FORMATTER = _EscapingFormatter()

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def figure(heading: str, chart: Html, note: str) -> Html:
    """A chart with a heading above it and a note below, each left out where it is empty."""
    return html(
        "<figure>\n{heading}{chart}{note}\n</figure>",
        heading=html("<h3>{text}</h3>\n", text=heading) if heading else "",
        chart=chart,
        note=html("\n<figcaption>{note}</figcaption>", note=note) if note else "",
    )
