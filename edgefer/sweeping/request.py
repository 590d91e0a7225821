"""What a sweep is to try: the file SWEEP.toml."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

from edgefer.errors import InputError, UsageError
from edgefer.host.units import parse_size
from edgefer.quantize.lessons import Effort
from edgefer.quantize.weights_only import Precision
from edgefer.spec import read_toml

EXAMPLE = """\
[[networks]]
model = "fer_b0.onnx"                  # also: name, family, arch, spec, weights

[options]                              # every combination is tried
calibration = ["faces.npz"]
effort = ["fast", "balanced"]
mixed = [false, true]                  # also: precision, max_drop, budget, samples, costs

[evaluations]
public = "fer2013_public.npz"

[devices]
names = ["pi5"]

[bounds]
max_drop = 1.0                         # percentage points
budget = "8MB"
latency_ms = 10"""

_REMEDY = f"A sweep is written like this:\n\n{EXAMPLE}"


@dataclass(frozen=True)
class Trained:
    """A network.

    Attributes:
        name: of its own.
        model: a file, or the name of a bundled network.
        how: what else `convert` is told of it: `family`, `arch`, `spec`, `weights`.
    """

    name: str
    model: str
    how: Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """What a recommended artifact must keep.

    Attributes:
        max_drop: percentage points of accuracy below the best float network of the sweep.
        budget: bytes.
        latency_ms: of a frame, on every real board.
        instructions_m: millions of instructions of a frame, on every emulated board.
    """

    max_drop: float | None = None
    budget: int | None = None
    latency_ms: float | None = None
    instructions_m: float | None = None


@dataclass(frozen=True)
class Request:
    """A sweep.

    Attributes:
        name: for people.
        networks: each with a name of its own.
        options: of `convert`, one mapping for each combination; only those that vary or were stated.
        evaluations: image sets by name.
        devices: names of boards.
        frames: that are timed on boards, at least.
        seconds: and at least for so long.
        limits: what the recommended one keeps.
    """

    name: str
    networks: tuple[Trained, ...]
    options: tuple[Mapping[str, Any], ...]
    evaluations: Mapping[str, Path]
    devices: tuple[str, ...]
    frames: int
    seconds: float
    limits: Limits


def read_request(path: Path) -> Request:
    """What a file asks for; paths in it start at its own folder.

    Raises:
        InputError: it cannot be read, or is no such request.
    """
    document = read_toml(path)
    try:
        _known(document, ("name", "networks", "options", "evaluations", "devices", "bounds"), "the file")
        networks = tuple(_network(each, path.parent) for each in document["networks"])
        taken = Counter(network.name for network in networks)
        if repeated := [name for name, count in taken.items() if count > 1]:
            raise ValueError(f"two networks are named {repeated[0]}; give each a name")
        evaluations = {str(name): path.parent / data for name, data in document["evaluations"].items()}
        if not networks or not evaluations:
            raise ValueError("a network and an evaluation are needed at least")
        devices = document.get("devices", {})
        _known(devices, ("names", "frames", "seconds"), "[devices]")
        return Request(
            str(document.get("name", path.stem)),
            networks,
            _combinations(document.get("options", {}), path.parent),
            evaluations,
            tuple(map(str, devices.get("names", ()))),
            int(devices.get("frames", 1024)),
            float(devices.get("seconds", 10.0)),
            _limits(document.get("bounds", {})),
        )
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]} is missing", remedy=_REMEDY) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: {error}", remedy=_REMEDY) from error
    except UsageError as error:
        raise InputError(f"{path}: {error.message}", remedy=error.remedy) from error


def _network(stated: Mapping[str, Any], folder: Path) -> Trained:
    _known(stated, ("model", "name", "family", "arch", "spec", "weights"), "[[networks]]")
    model = str(stated["model"])
    here = folder / model
    how = {key: stated[key] for key in ("family", "arch", "weights") if key in stated}
    if str(how.get("family", "")).endswith(".py"):
        how["family"] = str(folder / how["family"])
    if "spec" in stated:
        how["spec"] = read_toml(folder / stated["spec"])
    name = str(stated.get("name", Path(model).stem))
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(f"{name!r} is no name: use letters, digits, ., + and -")
    return Trained(name, str(here) if here.exists() else model, how)


def _combinations(stated: Mapping[str, Any], folder: Path) -> tuple[Mapping[str, Any], ...]:
    _known(stated, tuple(_OPTIONS), "[options]")
    choices = {}
    for name, values in stated.items():
        listed = values if isinstance(values, list) else [values]
        if not listed:
            raise ValueError(f"option {name} has no value")
        choices[name] = [_OPTIONS[name](value, folder) for value in listed]
    every = [_applied(dict(zip(choices, each, strict=True))) for each in product(*choices.values())]
    return tuple({repr(each): each for each in every}.values())


def _applied(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those that mean anything together: where arithmetic is in float there is nothing to mix, to learn or to bound."""
    int8 = options.get("precision", "int8") == "int8"
    return {name: value for name, value in options.items() if int8 or name not in _INT8_ONLY}


def _limits(stated: Mapping[str, Any]) -> Limits:
    _known(stated, ("max_drop", "budget", "latency_ms", "instructions_m"), "[bounds]")
    numbers = {key: float(stated[key]) for key in stated if key != "budget"}
    return Limits(budget=parse_size(str(stated["budget"])) if "budget" in stated else None, **numbers)


def _known(stated: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    if stranger := next((name for name in stated if name not in names), None):
        raise ValueError(f"{where} says {stranger!r}; known are {', '.join(names)}")


def _choice(values: Sequence[str]) -> Callable[[Any, Path], str]:
    def check(value: Any, folder: Path) -> str:
        if value not in values:
            raise ValueError(f"{value!r} is none of {', '.join(values)}")
        return str(value)

    return check


def _truth(value: Any, folder: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _data(value: Any, folder: Path) -> str:
    return str(folder / value) if (folder / value).exists() else str(value)


_OPTIONS: Mapping[str, Callable[[Any, Path], Any]] = {
    "calibration": _data,
    "samples": lambda value, folder: int(value),
    "budget": lambda value, folder: parse_size(str(value)),
    "max_drop": lambda value, folder: float(value),
    "mixed": _truth,
    "costs": _data,
    "effort": _choice(get_args(Effort)),
    "precision": _choice(get_args(Precision)),
}
"""Those of `convert` that can be swept, and how their values are read."""

_INT8_ONLY = ("mixed", "max_drop", "effort")
