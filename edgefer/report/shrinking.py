"""What of a network was removed to keep its bounds, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefer.report.markup import Html, html, section, table
from edgefer.report.solution import frontier_charts


def section_shrinking(manifest: Mapping[str, Any]) -> Html:
    """The rounds, from the network as it was; empty where no channels were removed."""
    rounds = manifest.get("rounds")
    if rounds is None:
        return html("")
    before = manifest["quantization"]["shrunk"]
    rows: list[tuple[str, list[object]]] = []
    whole = [_millions(before["parameters_before"]), _millions(before["macs_before"])]
    rows.append(("As it was", [*whole, "", "1.000", "", ""]))
    for number, each in enumerate(rounds, 1):
        counts = [_millions(each["parameters"]), _millions(each["macs"]), f"{each['bytes']:,}"]
        level = "" if each["sqnr_db"] is None else f"{each['sqnr_db']:.1f}"
        rows.append((f"{number}", [*counts, f"{each['latency']:.3f}", level, f"{each['drop']:.2f}"]))
    return section(
        "Smaller and smaller",
        html(
            "<p>Channels that matter least went until int8 kept its bounds. What the last round left was quantized; "
            "drift is against the network as it was. Latency is in times full int8 of that, by what operators cost on "
            "{machine}.</p>",
            machine=before["costs_of"],
        ),
        frontier_charts(manifest) if "solution" not in manifest else html(""),
        table(
            "After each round; noise and expected drop are in float, on held-back images",
            ["Parameters, M", "MACs, M", "int8 bytes", "Latency", "SQNR, dB", "Drop, points"],
            rows,
        ),
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"
