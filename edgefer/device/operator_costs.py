"""What operators cost on a device: the cost model by which `convert` chooses what computes in float."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgefer.board.instructions import parse, per_frame
from edgefer.device.results import SCHEMA
from edgefer.device.session import Listener, Session
from edgefer.errors import InputError
from edgefer.host.documents import read_document
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.probes import measured_costs

ROUNDS = 200
"""Inferences of each file that are timed."""
COUNTED = 3
"""And whose instructions are counted, on an emulated board."""
MAKER = "edgefer benchmark --device NAME --operator-costs --json FILE"


def operator_costs(session: Session, machine: str, emulated: bool, listener: Listener) -> CostModel:
    """Run operators by themselves with LiteRT, in one thread.

    Args:
        session: with the device.
        machine: what to call it.
        emulated: whether instructions are counted, as times would mean nothing.
        listener: hears how it gets on.

    Raises:
        DeviceError: the connection was lost, or LiteRT is not there.
        LookupError, TypeError, ValueError: the answer makes no sense.
    """

    def measure(groups: Sequence[Sequence[bytes]]) -> list[list[float]]:
        if emulated:
            return instructions(session, groups, listener)
        least: list[list[float]] = _run(session, groups, listener, counted=False)["least_ns"]
        return least

    return measured_costs(machine, "instructions" if emulated else "ns", measure)


def read_operator_costs(path: str | Path) -> CostModel:
    """The cost model of the one device in a benchmark's document that has one.

    Raises:
        InputError: the file cannot be read, is something else, or holds none or several.
    """
    models = read_document(path, SCHEMA, MAKER).read(_models)
    if len(models) != 1:
        held = f"of {' and '.join(model.machine for model in models)}" if models else "of no device"
        raise InputError(f"{path}: holds the costs of operators {held}", remedy=f"Make it with `{MAKER}`.")
    return models[0]


def _models(document: Any) -> list[CostModel]:
    found = [run.get("operator_costs") for run in document["runs"]]
    return [CostModel.from_dict(costs) for costs in found if costs is not None]


def instructions(
    session: Session, groups: Sequence[Sequence[bytes]], listener: Listener | None = None
) -> list[list[float]]:
    """ARM instructions of an inference of each TFLite file, on an emulated board."""
    return _counted(_run(session, groups, listener, counted=True)["snapshots"], [len(group) for group in groups])


def _run(session: Session, groups: Sequence[Sequence[bytes]], listener: Listener | None, *, counted: bool) -> Any:
    digests = [[session.push(file) for file in group] for group in groups]
    return session.request(
        "operators",
        listener=listener,
        paths={digest: digest for group in digests for digest in group},
        groups=digests,
        rounds=COUNTED if counted else ROUNDS,
        counted=counted,
    )


def _counted(snapshots: str, sizes: Sequence[int]) -> list[list[float]]:
    """Instructions of each file, the median inference's, from the marks that the agent sets."""
    counts = parse(snapshots)
    found, first = [], 0
    for size in sizes:
        end = first + 2 * size * COUNTED
        found.append([per_frame(counts, range(first + 2 * file, end, 2 * size)).total for file in range(size)])
        first = end
    return found
