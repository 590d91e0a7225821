"""Chooses among the weights that one file holds: averaged ones first, as timm does, and never between equals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefer.checkpoint.contents import Contents, Module
from edgefer.checkpoint.tensor import Tensor
from edgefer.errors import InputError
from edgefer.host.text import counted

_FOREIGN = {
    *("loss", "losses", "criterion", "teacher", "scheduler", "metric", "metrics", "discriminator"),
    *("optimizer", "optimizers", "optimiser", "optim"),
}


@dataclass(frozen=True)
class Checkpoint:
    """The weights that were chosen.

    Attributes:
        path: the file.
        tensors: parameters and buffers by dotted name, as in a state dict.
        modules: by dotted name, `""` for the network itself; empty unless a whole module was pickled.
        fields: what lies beside the weights, such as `arch`; for safetensors its metadata.
        beside: tensors that lie with the network, in a wrapper around it, such as heads.
        beside_modules: the wrapper's modules, likewise.
        notes: what the user should know about the choice.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    modules: Mapping[str, Module] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    beside_modules: Mapping[str, Module] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_foreign(name: str) -> bool:
    """Whether a tensor's name says that it belongs to training, not to the network: a loss, an optimiser, a teacher."""
    return not _FOREIGN.isdisjoint(_words(name))


def choose(found: Contents, key: str = "", anchor: re.Pattern[str] | None = None) -> Checkpoint:
    """The weights at `key`, or those that are meant where none is given.

    Args:
        found: what the file holds.
        key: dotted name of a place in the file, or the last parts of it.
        anchor: matches the full name of a tensor that every network in question has; the network lies at what its
            group `prefix` matches, which ends with a dot or is empty.

    Raises:
        InputError: there are no such weights, or several of equal standing; the message says what to choose from.
    """
    places = _holders(found) if anchor is None else _anchored(found, anchor)
    if not places:
        return Checkpoint(found.path, {}, fields=found.fields.get("", {}))
    wanted = _at(places, key) if key else places
    if not wanted:
        raise InputError(f"{found.path}: has no weights at {key!r}", remedy=f"Choose from {_listed(places)}.")
    best = min(map(_rank, wanted))
    place, *equals = (place for place in wanted if _rank(place) == best)
    if equals:
        raise InputError(
            f"{found.path}: holds {1 + len(equals)} sets of weights, {_listed([place, *equals])}",
            remedy=f"Say which by --weights (in Python weights=), such as --weights {_key(place)}.",
        )
    return _chosen(found, place, [other for other in places if other != place])


def _anchored(found: Contents, anchor: re.Pattern[str]) -> list[str]:
    matches = (anchor.fullmatch(name) for name in (*found.tensors, *found.unreadable))
    return list(dict.fromkeys(match["prefix"] for match in matches if match))


def _holders(found: Contents) -> list[str]:
    """Places that hold many tensors, where nothing else tells what is the network."""
    sizes = Counter(holder for holder in found.holders.values() if not is_foreign(holder))
    return [f"{holder}." if holder else "" for holder, size in sizes.items() if 2 * size >= max(sizes.values())]


def _at(places: Iterable[str], key: str) -> list[str]:
    """The places at or below `key`; else those that have it somewhere in their names."""
    inside = [place for place in places if place.startswith(f"{key}.")]
    return inside or [place for place in places if f".{key}." in f".{place}"]


def _rank(place: str) -> tuple[bool, ...]:
    """Least for what timm takes: averaged weights, then `state_dict`, then `model`; what is foreign comes last."""
    parts = place.split(".")
    return is_foreign(place), not _is_averaged(place), "state_dict" not in parts, "model" not in parts


def _is_averaged(place: str) -> bool:
    return "ema" in _words(place)


def _words(name: str) -> set[str]:
    return set(re.split(r"[._]", name.lower()))


def _key(place: str) -> str:
    return place.removesuffix(".") or "the file itself"


def _listed(places: Iterable[str]) -> str:
    return ", ".join(map(_key, places))


def _chosen(found: Contents, place: str, others: list[str]) -> Checkpoint:
    elsewhere = tuple(other for other in others if not place.startswith(other))
    inside = [name for name in found.holders if name.startswith(place) and not name.startswith(elsewhere)]
    for name in inside:
        if name in found.unreadable:
            raise InputError(
                f"{found.path}: tensor {name.removeprefix(place)} is stored as {found.unreadable[name]}, "
                "which is not supported",
                remedy="Bring plain dense tensors; edgefer quantizes the float network itself.",
            )
    holder = found.holders[inside[0]]
    wrapper = _wrapper(holder, place)
    beside = {
        name.removeprefix(wrapper if name.startswith(wrapper) else f"{holder}."): tensor
        for name, tensor in found.tensors.items()
        if found.holders[name] == holder and not name.startswith((place, *elsewhere))
    }
    around = {name: module for name, module in found.modules.items() if not f"{name}.".startswith((place, *elsewhere))}
    return Checkpoint(
        found.path,
        {name.removeprefix(place): found.tensors[name] for name in inside},
        _below(found.modules, place),
        _fields(found, place),
        beside,
        _below(around, wrapper),
        tuple(_notes(found, place, holder, others)),
    )


def _wrapper(holder: str, place: str) -> str:
    """What encloses the network at `place`, within what holds its tensors."""
    outer = place.removesuffix(".").rpartition(".")[0]
    return f"{max(outer, holder, key=len)}." if outer or holder else ""


def _below(modules: Mapping[str, Module], place: str) -> dict[str, Module]:
    return {f"{name}."[len(place) : -1]: module for name, module in modules.items() if f"{name}.".startswith(place)}


def _fields(found: Contents, place: str) -> dict[str, Any]:
    """What lies beside the weights, in every dict on the way to them."""
    return {
        key: value
        for name, entries in found.fields.items()
        if not name or place.startswith(f"{name}.")
        for key, value in entries.items()
        if not place.startswith(f"{name}.{key}." if name else f"{key}.")
    }


def _notes(found: Contents, place: str, holder: str, others: list[str]) -> Iterable[str]:
    if others:
        averaged = "its averaged weights, " if _is_averaged(place) else ""
        yield (
            f"of the weights in {found.path.name}, {averaged}{_key(place)}, are taken, and not {_listed(others)}: "
            "--weights chooses"
        )
    rest = Counter(
        name.split(".")[0]
        for name, its_holder in found.holders.items()
        if its_holder != holder and not name.startswith(tuple(others))
    )
    if rest:
        left = ", ".join(f"{name} ({counted(count, 'tensor')})" for name, count in rest.items())
        yield f"left out of {found.path.name}, as no part of the network: {left}"
