"""A check for people and for CI: a table, Markdown for a pull request, JUnit XML, annotations on GitHub."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from io import StringIO

from edgefer.evaluation.summary import escaped
from edgefer.gates.results import Check, Decision, Outcome
from edgefer.host.text import printable

WORDS: dict[Outcome, str] = {
    "fail": "failed",
    "unknown": "not enough evidence",
    "pass": "passed",
    "skip": "not applied",
}
_SIGNS: dict[Outcome, str] = {"fail": "❌", "unknown": "⚠️", "pass": "✅", "skip": "·"}
_HEADER = ("gate", "where", "bound", "found", "outcome")


def rows(check: Check) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the table: what failed first, then what could not be told, in the order of the gates."""
    order = list(WORDS)
    decisions = sorted(check.decisions, key=lambda decision: order.index(decision.outcome))
    return _HEADER, [(d.gate, d.place, d.bound, _found(d), WORDS[d.outcome]) for d in decisions]


def reasons(check: Check) -> Iterator[tuple[Decision, str]]:
    """What did not pass, each with a sentence: where, what was found, why; failures first."""
    for outcome in ("fail", "unknown"):
        yield from ((d, _sentence(d)) for d in check.decisions if d.outcome == outcome)


def to_markdown(check: Check) -> str:
    """A summary for a pull request: what did not pass, and behind a click every bound that applied."""
    told = [f"- {_SIGNS[decision.outcome]} {escaped(sentence)}" for decision, sentence in reasons(check)]
    told += [f"- {escaped(note)}" for note in check.notes]
    header, found = rows(check)
    counts = Counter(row[-1] for row in found)
    shown = [row for row in found if row[-1] != WORDS["skip"]]
    lines = [
        f"### {_SIGNS[check.outcome]} {escaped(check.name)}: gates {WORDS[check.outcome]}",
        *(["", *told] if told else []),
        "",
        f"<details><summary>{', '.join(f'{counts[word]} {word}' for word in WORDS.values() if counts[word])}</summary>",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(map(escaped, row))} |" for row in shown),
        "",
        "</details>",
    ]
    return "\n".join((*lines, ""))


def to_junit(check: Check) -> str:
    """JUnit XML: a test per decision; what could not be told is an error, which fails a build as a failure does."""
    outcomes = [decision.outcome for decision in check.decisions]
    suite = ET.Element(
        "testsuite",
        name=f"edgefer check {printable(check.name)}",
        tests=str(len(outcomes)),
        failures=str(outcomes.count("fail")),
        errors=str(outcomes.count("unknown")),
        skipped=str(outcomes.count("skip")),
    )
    for decision in check.decisions:
        name = " ".join(filter(None, (decision.gate, f"[{decision.place}]" if decision.place else "", decision.bound)))
        case = ET.SubElement(suite, "testcase", classname=f"edgefer.{decision.metric}", name=printable(name))
        if decision.outcome in _ELEMENTS:
            ET.SubElement(case, _ELEMENTS[decision.outcome], message=printable(_sentence(decision)))
        elif decision.finding:
            ET.SubElement(case, "system-out").text = printable(decision.finding.text)
    text = StringIO()
    ET.indent(suite)
    ET.ElementTree(suite).write(text, encoding="unicode", xml_declaration=True)
    return text.getvalue() + "\n"


def to_annotations(check: Check) -> str:
    """Workflow commands of GitHub Actions: an error per failed bound, a warning where the evidence does not tell."""
    commands = {"fail": "error", "unknown": "warning"}
    return "".join(
        f"::{commands[decision.outcome]} title={_property(f'edgefer: {decision.gate}')}::{_data(sentence)}\n"
        for decision, sentence in reasons(check)
    )


_ELEMENTS: dict[Outcome, str] = {"fail": "failure", "unknown": "error", "skip": "skipped"}


def _sentence(decision: Decision) -> str:
    where = f" on {decision.place}" if decision.place else ""
    found = f" {decision.finding.text};" if decision.finding else ""
    return f"{decision.gate}{where}:{found} {decision.bound}: {decision.reason}"


def _found(decision: Decision) -> str:
    return decision.finding.text if decision.finding else ""


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
