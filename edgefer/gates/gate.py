"""A gate is data: a metric, its bounds, and what it means that evidence is missing.

schema = "edgefer.gates/1"

[gate.latency_on_pi4]
metric = "latency_p50"      # the gate's own name where left out
at_most = "40 ms"           # at_least for what is worse when lower
max_increase = "10 %"       # against the baseline; max_decrease for what is worse when lower
resolution = "15 %"         # how far beyond the bound the interval may reach
missing = "unknown"         # or "fail", or "skip"
where = {device = "pi4", format = "tflite"}
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from edgefer.errors import InputError
from edgefer.gates.evidence import Place
from edgefer.gates.metric import METRICS, Metric
from edgefer.gates.quantity import Quantity, change, level

Missing: TypeAlias = Literal["fail", "skip", "unknown"]

SCHEMA = "edgefer.gates/1"
PLACES = tuple(place.name for place in fields(Place))
"""What `where` may name."""
_DEFAULTS = files("edgefer").joinpath("gates", "default.toml")


@dataclass(frozen=True)
class Gate:
    """What must hold.

    Attributes:
        name: unique in its file.
        metric: what is looked at.
        level: the bound on the metric itself.
        change: the bound on its worsening against the baseline.
        resolution: how far beyond a bound the true value may still lie, for all that the evidence says.
        missing: what it means that there is no evidence: `fail`; `unknown`, which is `skip` of what no head of the
            network can have; or `skip`, which is still `unknown` where the baseline has the evidence.
        where: the gate is about these places only.
    """

    name: str
    metric: Metric
    level: Quantity | None = None
    change: Quantity | None = None
    resolution: Quantity | None = None
    missing: Missing = "unknown"
    where: Mapping[str, str] = field(default_factory=dict)

    def covers(self, place: Place) -> bool:
        """Whether the gate is about a place."""
        return all(getattr(place, key) == value for key, value in self.where.items())


def load_gates(path: str | Path | None = None) -> tuple[Gate, ...]:
    """Gates of a TOML file, or the default ones.

    Raises:
        InputError: it cannot be read, or a gate in it is wrong; the message names the gate.
    """
    source = _DEFAULTS if path is None else Path(path)
    try:
        document = tomllib.loads(source.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: gates cannot be read: {error}") from error
    if document.get("schema") != SCHEMA:
        raise InputError(f'{source}: not a file of gates: it does not begin with schema = "{SCHEMA}"')
    tables = document.get("gate")
    if not isinstance(tables, dict) or not tables or len(document) > 2:
        raise InputError(f"{source}: besides `schema` it holds a table [gate.NAME] per gate, and nothing else")
    gates = []
    for name, table in tables.items():
        try:
            gates.append(_gate(name, table))
        except ValueError as error:
            raise InputError(f"{source}: gate {name}: {error}") from error
    return tuple(gates)


def _gate(name: str, table: Any) -> Gate:
    if not isinstance(table, dict):
        raise ValueError("is not a table")
    metric = _metric(table.get("metric", name))
    keys = ("at_most", "max_increase") if metric.higher_is_worse else ("at_least", "max_decrease")
    _known(table, (*keys, "metric", "resolution", "missing", "where"), metric)
    if not any(key in table for key in keys):
        raise ValueError(f"has no bound: write {keys[0]}, {keys[1]} or both")
    missing = table.get("missing", "unknown")
    if missing not in get_args(Missing):
        raise ValueError(f'missing = {missing!r}: write "fail", "skip" or "unknown"')
    where = table.get("where", {})
    if not isinstance(where, dict) or any(k not in PLACES or not isinstance(v, str) for k, v in where.items()):
        raise ValueError(f"where names {', '.join(PLACES)}, each as text")
    at, by = (table.get(key) for key in keys)
    resolution = table.get("resolution", metric.resolution)
    if metric.resolution is None and resolution is not None:
        raise ValueError(f"{metric.name} is counted, not estimated: it has no resolution")
    return Gate(
        name,
        metric,
        None if at is None else level(at, metric.dimension),
        None if by is None else change(by, metric.dimension),
        None if resolution is None else change(resolution, metric.dimension),
        missing,
        where,
    )


def _metric(name: Any) -> Metric:
    if name in METRICS:
        return METRICS[name]
    close = get_close_matches(str(name), METRICS, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(METRICS)}"
    raise ValueError(f"no metric is called {name!r}: {hint}")


def _known(table: Mapping[str, Any], keys: tuple[str, ...], metric: Metric) -> None:
    direction = "higher" if metric.higher_is_worse else "lower"
    for key in table:
        if key in ("at_most", "max_increase", "at_least", "max_decrease") and key not in keys:
            raise ValueError(f"{key}: {metric.name} is worse when {direction}: write {keys[0]} or {keys[1]}")
        if key not in keys:
            raise ValueError(f"{key!r} is no key of a gate: there are {', '.join(keys)}")
