"""Names every tensor and module that an unpickled value holds by where it lies in it.

Weights lie anywhere: in the value itself, under a key of any name, in a list, in an object's attribute, as a whole
module.  What is reached by `checkpoint["nets"][0]["module.conv.weight"]` is called `nets.0.module.conv.weight`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeAlias, cast

from edgefer.checkpoint.tensor import ITEM_BYTES, Storage, Tensor
from edgefer.checkpoint.unpickle import Record
from edgefer.errors import InputError

_MAX_DEPTH = 64
_MAX_MODULES = 100_000

State: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Module:
    """A torch module as its pickle describes it.

    Attributes:
        kind: its class, such as `torch.nn.modules.conv.Conv2d`.
        attributes: its own, without parameters, buffers and children.
    """

    kind: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """Everything that a checkpoint holds, by dotted name.

    Attributes:
        path: the file.
        tensors: dense tensors and arrays.
        unreadable: tensors of other kinds: what they are stored as.
        modules: `name`, or `""` for what the file holds as a whole.
        holders: for each tensor, the name of the dict or of the outermost module that holds it.
        fields: for each dict by its name, what else lies in it.
    """

    path: Path
    tensors: dict[str, Tensor] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, holder: str, name: str, value: Any) -> bool:
        """Take `value` in, if it is a tensor."""
        if isinstance(value, Record) and value.kind.startswith(("torch._utils.", "torch._tensor.")):
            self.unreadable[name] = value.kind
        elif (tensor := _tensor(self.path, value)) is not None:
            self.tensors[name] = tensor
        else:
            return False
        self.holders[name] = holder
        return True


def contents(path: Path, value: Any) -> Contents:
    """What `value`, read from `path`, holds.

    Raises:
        InputError: modules are nested in a circle, or an array is damaged.
    """
    found = Contents(path)
    seen: set[int] = set()
    stack = [("", value, 0)]
    while stack:
        name, value, depth = stack.pop()
        if id(value) in seen or depth > _MAX_DEPTH:  # shared by two places, or of no checkpoint
            continue
        seen.add(id(value))
        if (state := _module_state(value)) is not None:
            _add_module(found, name, value.kind, state)
            continue
        inner = []
        for key, child in _children(value):
            child_name = _joined(name, key)
            if not found.add(name, child_name, child):
                found.fields.setdefault(name, {})[key] = child
                if isinstance(child, dict | list | tuple | Record):
                    inner.append((child_name, child, depth + 1))
        stack.extend(reversed(inner))
    return found


def _children(value: Any) -> Iterable[tuple[str, Any]]:
    """What a dict, a list, pairs of names and tensors, or an object's attributes hold, by name."""
    if isinstance(value, dict):
        return ((str(key), child) for key, child in value.items())
    if isinstance(value, list | tuple):
        pairs = value and all(isinstance(v, list | tuple) and len(v) == 2 and isinstance(v[0], str) for v in value)
        return ((str(key), child) for key, child in (value if pairs else enumerate(value)))
    if isinstance(value, Record):
        state = value.state if isinstance(value.state, dict) else {}
        own = (value.items, dict(enumerate(value.elements)), state)
        return ((str(key), child) for part in own for key, child in part.items())
    return ()


def _joined(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


# --- whole modules ----------------------------------------------------------------------------------------


def _module_state(value: Any) -> State | None:
    if isinstance(value, Record) and isinstance(value.state, dict) and isinstance(value.state.get("_modules"), dict):
        return cast(State, value.state)
    return None


def _add_module(found: Contents, holder: str, kind: str, state: State) -> None:
    for name, class_name, attributes in _walk(found.path, holder, kind, state):
        own = {key: value for key, value in attributes.items() if key not in ("_modules", "_parameters", "_buffers")}
        found.modules[name] = Module(class_name, own)
        for group in ("_parameters", "_buffers"):
            for key, value in (attributes.get(group) or {}).items():
                found.add(holder, _joined(name, key), value)


def _walk(path: Path, holder: str, kind: str, state: State) -> Iterator[tuple[str, str, State]]:
    """Every module by dotted name, parents first; bounded, as a hostile tree may be cyclic."""
    stack = [(holder, kind, state, 0)]
    count = 0
    while stack:
        name, class_name, attributes, depth = stack.pop()
        count += 1
        if count > _MAX_MODULES or depth > _MAX_DEPTH:
            raise InputError(f"{path}: its modules are nested too deeply, or in a circle")
        yield name, class_name, attributes
        for key, child in reversed(attributes["_modules"].items()):
            child_state = _module_state(child)
            if child_state is not None:
                stack.append((_joined(name, key), child.kind, child_state, depth + 1))


# --- arrays of numpy --------------------------------------------------------------------------------------

_ARRAY = tuple(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))
_BUFFER = tuple(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core"))
_KINDS = {"f": "float", "i": "int", "u": "uint", "b": "bool"}


def _tensor(path: Path, value: Any) -> Tensor | None:
    """`value` as a tensor, if it is one, or an array of numpy."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, Record) or value.kind not in (*_ARRAY, *_BUFFER):
        return None
    try:
        if value.kind in _ARRAY:
            _, shape, dtype, by_columns, data = value.state
        else:
            data, dtype, shape, order = value.args
            by_columns = order == "F"
        return _array(path, dtype, tuple(shape), bool(by_columns), data)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: holds a damaged array of numpy: {error!s:.200}") from error


def _array(path: Path, dtype: Any, shape: tuple[int, ...], by_columns: bool, data: Any) -> Tensor | None:
    if isinstance(data, Record) and data.kind == "_codecs.encode":  # how protocol 2 writes bytes
        data = data.args[0]
    code, order = dtype.args[0], dtype.state[1]
    if not isinstance(data, bytes | bytearray | str) or code[0] not in _KINDS:
        return None  # of objects, or of text
    name = "bool" if code[0] == "b" else f"{_KINDS[code[0]]}{8 * int(code[1:])}"
    if name not in ITEM_BYTES or len(data) != prod(shape) * ITEM_BYTES[name]:
        raise ValueError(f"{len(data)} bytes are not {name!s:.20} of shape {shape!s:.80}")
    storage = Storage(path, name, prod(shape), big_endian=order == ">", data=data)
    steps = (shape[:axis] if by_columns else shape[axis + 1 :] for axis in range(len(shape)))
    return Tensor(storage, 0, shape, tuple(prod(step) for step in steps))
