"""What of a network was removed to keep its bounds, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefer.report.markup import Html, html, section, table


def section_shrinking(manifest: Mapping[str, Any]) -> Html:
    """The rounds, from the network as it was; empty where no channels were removed."""
    rounds = manifest.get("rounds")
    if rounds is None:
        return html("")
    before = manifest["quantization"]["shrunk"]
    rows: list[tuple[str, list[object]]] = []
    rows.append(("As it was", [_millions(before["parameters_before"]), _millions(before["macs_before"]), ""]))
    for number, each in enumerate(rounds, 1):
        level = "" if each["sqnr_db"] is None else f"{each['sqnr_db']:.1f}"
        rows.append((f"{number}", [_millions(each["parameters"]), _millions(each["macs"]), level]))
    return section(
        "Smaller and smaller",
        html(
            "<p>Channels that matter least went until int8 kept its bounds. What the last round left was quantized; "
            "drift is against the network as it was.</p>"
        ),
        table("After each round, in float, on held-back images", ["Parameters, M", "MACs, M", "SQNR, dB"], rows),
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"
