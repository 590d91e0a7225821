"""Options of a conversion that contradict each other, before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from edgefer.bundle import Batch
from edgefer.errors import UsageError
from edgefer.quantize.costs.machines import TARGETS
from edgefer.quantize.lessons import Effort
from edgefer.quantize.weights_only import Precision
from edgefer.runtime.runners import Format

Backend: TypeAlias = Literal["edgefer", "onnx2tf"]
Ends: TypeAlias = Literal["float", "int8"]
"""What artifacts take and return: pixels and real numbers, or integers."""

FORMATS: tuple[Format, ...] = ("tflite", "onnx")


def refuses_to_shrink(precision: Precision, tflite_backend: Backend, *, is_of_sequences: bool = False) -> str:
    """Why `--shrink` is not for such a conversion, of a network of images or sequences; empty where it is."""
    if precision != "int8":
        return f"{precision} computes in float throughout, which leaves nothing to shrink for"
    if tflite_backend == "onnx2tf":
        return "onnx2tf writes the network as it is"
    return "looks at more than one image, which --shrink cannot" if is_of_sequences else ""


def refuse_contradictions(
    *,
    formats: Sequence[Format],
    tflite_backend: Backend,
    precision: Precision,
    effort: Effort,
    batch: Batch,
    io: Ends,
    max_drop: float | None,
    mixed: bool,
    shrink: bool,
    learns_on_more: bool,
    target: str | None,
    has_costs: bool,
) -> None:
    """Raise what the first contradiction among a conversion's options is, if there is one.

    Args are those of `convert`; `learns_on_more` and `has_costs` tell whether there are unlabelled images and costs.

    Raises:
        UsageError: two options cannot both be meant, or one has no such value.
    """
    by_onnx2tf = tflite_backend == "onnx2tf"
    bounded = mixed or max_drop is not None
    not_shrunk = refuses_to_shrink(precision, tflite_backend)
    for wrong, message, remedy in (
        (
            not formats or not set(formats) <= set(FORMATS),
            f"formats are {', '.join(FORMATS)}; got {', '.join(formats) or 'none'}",
            "",
        ),
        (
            by_onnx2tf and bounded,
            "onnx2tf quantizes everything",
            "Leave out mixed precision and the bound on the drop.",
        ),
        (
            learns_on_more and not shrink,
            "unlabelled images are learned on where a network shrinks",
            "Add --shrink.",
        ),
        (
            shrink and bool(not_shrunk),
            not_shrunk,
            "Leave out --shrink, or take --precision int8 and edgefer's own backend.",
        ),
        (
            batch == "dynamic" and "onnx" not in formats,
            "TFLite files take one image at a time",
            "Add onnx to the formats, or leave out --batch.",
        ),
        (
            max_drop is not None and not 0 <= max_drop <= 100,
            f"a drop is between 0 and 100 percentage points; got {max_drop}",
            "",
        ),
        (
            precision != "int8" and (bounded or effort != "fast" or by_onnx2tf),
            f"{precision} computes in float throughout, which leaves nothing to mix, to learn or to bound",
            "Leave out --mixed, --max-drop, --effort and --tflite-backend, or take --precision int8.",
        ),
        (
            io == "int8" and (precision != "int8" or bounded or by_onnx2tf),
            "with integers in and out all of it computes in int8",
            "Leave out --io int8, or --precision, --mixed, --max-drop and --tflite-backend.",
        ),
        (
            target is not None and has_costs,
            "both a target and the costs of a board say where it is to be fast",
            "Leave out one.",
        ),
        (
            target is not None and target not in TARGETS,
            f"targets are {', '.join(TARGETS)}; got {target}",
            "Measure others: see --costs.",
        ),
    ):
        if wrong:
            raise UsageError(message, remedy=remedy)
