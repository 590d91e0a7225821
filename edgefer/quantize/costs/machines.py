"""The machines that networks are made fast for: their cost models, which come with edgefer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files

from edgefer.quantize.costs.cost import CostModel


def _measured(name: str) -> CostModel:
    """The cost model that `benchmarks/operator_costs.py` wrote."""
    return CostModel.from_dict(json.loads(files(__package__).joinpath("data", f"{name}.json").read_bytes()))


LITERT_X86 = replace(_measured("x86"), overstates=1.16)
"""LiteRT 2.3 in one thread; mixed networks of which it says 1.29 take 1.25."""

LITERT_A72 = _measured("pi4")
"""The same in instructions, without dot products of int8 vectors."""

LITERT_A76 = _measured("pi5")
"""The same in instructions, with them."""

TARGETS: Mapping[str, tuple[CostModel, ...]] = {
    "pi4": (LITERT_A72,),
    "pi5": (LITERT_A76,),
    "android": (LITERT_A76, LITERT_A72),
    "x86": (LITERT_X86,),
}
"""What can be asked for: the machines of which the one counts that would be slowed down most, the commonest first."""

EVERYWHERE = (LITERT_X86, LITERT_A76, LITERT_A72)
"""What counts where nothing is asked for."""
