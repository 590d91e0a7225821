"""What runtimes say when they refuse a model, in words that say which node, and why.

Their own words (a C++ assertion with its path, protobuf's complaint) are kept as the detail of the error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgefer.errors import RefusedError

_NODES = (
    re.compile(r"In Node, \(\"(?P<name>[^\"]*)\", (?P<op>\w+)"),
    re.compile(r"Node \((?P<name>.*?)\) Op \((?P<op>\w+)\)"),
    re.compile(r"running (?P<op>\w+) node\. Name:'(?P<name>[^']*)'"),
    re.compile(r"implementation for (?P<op>\w+)\(\d+\) node with name '(?P<name>[^']*)'"),
    re.compile(r"Optype \((?P<op>\w+)\).*in node \((?P<name>[^)]*)\)", re.DOTALL),
    re.compile(r"tflite\w*/kernels/(?P<op>\w+)\.cc"),
    re.compile(r"Node number (?P<name>\d+) \((?P<op>\w+)\)"),
)
"""How they name a node, the most telling ones first."""

_CAUSES: Mapping[str, str] = {
    r"NOT_IMPLEMENTED|find an implementation|unresolved custom op|builtin_code|find op": "has no kernel for it",
    r"No Op registered": "knows no operator of that name at the file's opset",
    r"Unrecognized attribute: (\w+)": "knows no attribute {} of it",
    r"Required attribute '(\w+)'": "misses its attribute {}",
    r"allocate|bad_alloc|Tensor shape.*too large": "has not enough memory for it",
    r"[Tt]ype [Ee]rror|bound to different types|type .*mismatch": "finds types of its inputs that do not fit together",
    r"ShapeInferenceError|[Ii]ncompatible dim|merge shape|broadcast|cannot be reshaped|[Dd]imension|num_input_elements":
        "finds shapes of its inputs that do not fit together",
    r"Node input '(.*?)' is not": "finds nothing that makes the value {!r}",
    r"(?i)external data|external_data": "cannot read the files that hold its weights",
    r"out of data bounds|out of range|out of bounds": "finds an index out of bounds",
    r"Protobuf|protobuf|INVALID_PROTOBUF": "cannot parse it",
    r"not a valid (TFLite|Flatbuffer)|identifier": "finds that it is no TFLite file",
}  # fmt: skip


def refusal(runtime: str, does: str, said: str, remedy: str = "") -> RefusedError:
    """The error for a model that `runtime` refused.

    Args:
        runtime: its name.
        does: what it was asked to do, as in "open" or "run".
        said: what it said, however long.
        remedy: what the user can do.
    """
    cause = next(
        (cause.format(*found.groups()) for key, cause in _CAUSES.items() if (found := re.search(key, said))), ""
    )
    node = next((found.groupdict() for pattern in _NODES if (found := pattern.search(said))), {})
    name = node.get("name", "").removesuffix("_nchwc")  # what ONNX Runtime adds
    where = f"node {name!r} ({node['op']}): " if name else f"{node['op']}: " if node else ""
    message = f"{where}{runtime} {cause}" if cause else f"{where}{runtime} cannot {does} it"
    return RefusedError(message, remedy=remedy, detail=said)
