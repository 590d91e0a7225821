"""A pickle machine that builds data and runs nothing.

`pickletools.genops` decodes the stream; every operation that would import or call something in Python's
own machine here makes an inert `Global` or `Record` instead.  The few constructors that state dicts are
made of (tensors, ordered dicts, sets) map to functions of ours.  A call of anything that is not a class
of a known library is refused: no honest checkpoint needs it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

from edgefer.errors import InputError

MAX_OPERATIONS = 5_000_000


@dataclass(frozen=True)
class Global:
    """A name that the pickle refers to; never imported."""

    name: str


@dataclass(eq=False)
class Record:
    """An object as its pickle describes it.

    Attributes:
        kind: its class, `module.Class`.
        args: what it was constructed from.
        state: what its attributes were restored from.
        items: what it holds as a mapping.
        elements: what it holds as a list.
    """

    kind: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


Constructor: TypeAlias = Callable[..., Any]
"""Makes an inert value from a call's arguments; may raise `TypeError` or `ValueError` for bad ones."""


def unpickle(
    stream: IO[bytes],
    constructors: dict[str, Constructor] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle; the stream is left right after it.

    Args:
        stream: needs `read`, `readline` and `tell`.
        constructors: functions of ours, by the global name that the pickle calls.
        persistent: resolves persistent ids; may raise `TypeError` or `ValueError` for bad ones.

    Raises:
        InputError: it is truncated, malformed, or wants to call what no checkpoint needs; the message
            names no file.
    """
    machine = _Machine({**_CONTAINERS, **(constructors or {})}, persistent)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPERATIONS:
                raise InputError(f"its pickle has more than {MAX_OPERATIONS} operations")
            if operation.name == "STOP":
                return machine.result()
            machine.step(operation.name, argument)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(f"its pickle is damaged or truncated: {_brief(error)}") from error
    raise InputError("its pickle has no end")


_CONTAINERS: dict[str, Constructor] = {
    "collections.OrderedDict": lambda pairs=(): {_key(key): value for key, value in pairs},
    "collections.defaultdict": lambda factory=None: {},
    "builtins.dict": lambda pairs=(): {_key(key): value for key, value in pairs},
    "builtins.list": lambda items=(): list(items),
    "builtins.tuple": lambda items=(): tuple(items),
    "builtins.set": lambda items=(): {_key(item) for item in items},
    "builtins.frozenset": lambda items=(): frozenset(_key(item) for item in items),
    "torch.Size": lambda items=(): tuple(items),
}

_CALLABLE = (  # libraries whose objects are data to us, and the few helpers that pickles of data call
    *("torch.", "torchvision.", "timm.", "numpy.", "omegaconf.", "lightning.", "lightning_fabric."),
    *("pytorch_lightning.", "efficientnet_pytorch.", "efficientnet_lite_pytorch.", "argparse.", "pathlib."),
    *("datetime.", "collections.", "decimal.", "uuid."),
)
_CALLABLE_NAMES = {"functools.partial", "_codecs.encode", "copyreg._reconstructor", "types.SimpleNamespace"}

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}

_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SCALARS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}


class _Machine:
    """The stack, the memo, and one method per kind of operation."""

    def __init__(self, constructors: dict[str, Constructor], persistent: Callable[[Any], Any] | None) -> None:
        self.constructors = constructors
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def step(self, name: str, argument: Any) -> None:
        if name in _SCALARS:
            self.stack.append(argument)
        elif name in _LITERALS:
            self.stack.append(_LITERALS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        else:
            action = getattr(self, f"do_{name.lower()}", None)
            if action is None:
                raise InputError(f"its pickle uses {name}, which no checkpoint needs")
            value = action(argument)
            if value is not _NOTHING:
                self.stack.append(value)

    def result(self) -> Any:
        value = self.pop()
        if self.stack or self.marks:
            raise ValueError("values are left over at its end")
        return value

    def top(self) -> Any:
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise ValueError("a value is missing on the stack")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        del self.stack[-1]
        return value

    def pop_marked(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def do_proto(self, version: int) -> object:
        if version > 5:
            raise ValueError(f"unknown protocol {version}")
        return _NOTHING

    def do_frame(self, _: Any) -> object:
        return _NOTHING

    def do_memoize(self, _: Any) -> object:
        self.memo[len(self.memo)] = self.top()
        return _NOTHING

    def do_mark(self, _: Any) -> object:
        self.marks.append(len(self.stack))
        return _NOTHING

    def do_pop(self, _: Any) -> object:
        if self.marks and len(self.stack) == self.marks[-1]:
            self.marks.pop()
        else:
            self.pop()
        return _NOTHING

    def do_pop_mark(self, _: Any) -> object:
        self.pop_marked()
        return _NOTHING

    def do_dup(self, _: Any) -> Any:
        return self.top()

    def do_empty_tuple(self, _: Any) -> Any:
        return ()

    def do_tuple1(self, _: Any) -> Any:
        return (self.pop(),)

    def do_tuple2(self, _: Any) -> Any:
        second = self.pop()
        return (self.pop(), second)

    def do_tuple3(self, _: Any) -> Any:
        third, second = self.pop(), self.pop()
        return (self.pop(), second, third)

    def do_tuple(self, _: Any) -> Any:
        return tuple(self.pop_marked())

    def do_empty_list(self, _: Any) -> Any:
        return []

    def do_list(self, _: Any) -> Any:
        return self.pop_marked()

    def do_append(self, _: Any) -> object:
        return self.extend([self.pop()])

    def do_appends(self, _: Any) -> object:
        return self.extend(self.pop_marked())

    def extend(self, values: list[Any]) -> object:
        target = self.top()
        (target.elements if isinstance(target, Record) else _as(list, target)).extend(values)
        return _NOTHING

    def do_empty_dict(self, _: Any) -> Any:
        return {}

    def do_dict(self, _: Any) -> Any:
        return _pairs(self.pop_marked())

    def do_setitem(self, _: Any) -> object:
        value, key = self.pop(), self.pop()
        return self.update([key, value])

    def do_setitems(self, _: Any) -> object:
        return self.update(self.pop_marked())

    def update(self, values: list[Any]) -> object:
        target = self.top()
        (target.items if isinstance(target, Record) else _as(dict, target)).update(_pairs(values))
        return _NOTHING

    def do_empty_set(self, _: Any) -> Any:
        return set()

    def do_additems(self, _: Any) -> object:
        values = self.pop_marked()
        _as(set, self.top()).update(_key(value) for value in values)
        return _NOTHING

    def do_frozenset(self, _: Any) -> Any:
        return frozenset(_key(value) for value in self.pop_marked())

    def do_global(self, argument: str) -> Any:
        module, name = argument.split(" ", 1)
        return _global(module, name)

    def do_stack_global(self, _: Any) -> Any:
        name = self.pop()
        return _global(_as(str, self.pop()), _as(str, name))

    def do_reduce(self, _: Any) -> Any:
        args = self.pop()
        return self.call(self.pop(), _as(tuple, args))

    def do_inst(self, argument: str) -> Any:
        module, name = argument.split(" ", 1)
        return self.call(_global(module, name), tuple(self.pop_marked()))

    def do_obj(self, _: Any) -> Any:
        function, *args = self.pop_marked()
        return self.call(function, tuple(args))

    def do_newobj(self, _: Any) -> Any:
        args = self.pop()
        return self.new(self.pop(), _as(tuple, args))

    def do_newobj_ex(self, _: Any) -> Any:
        self.pop()  # keyword arguments
        return self.do_newobj(_)

    def do_build(self, _: Any) -> object:
        state = self.pop()
        target = self.top()
        if isinstance(target, Record):
            target.state = state
        return _NOTHING

    def do_binpersid(self, _: Any) -> Any:
        if self.persistent is None:
            raise ValueError("it refers to storages that the file does not have")
        return self.persistent(self.pop())

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        name = _as(Global, function).name
        if name in self.constructors:
            return self.construct(name, args)
        if name == "copyreg._reconstructor":
            return self.new(args[0], ())
        if not name.startswith(_CALLABLE) and name not in _CALLABLE_NAMES:
            raise InputError(
                f"refused: the file wants to call {name}, which no checkpoint needs (nothing was run)",
                remedy="Do not load it elsewhere unless you trust who made it. From a trusted environment, save the "
                "weights alone: torch.save(model.state_dict(), 'weights.pt').",
            )
        return Record(name, args)

    def new(self, function: Any, args: tuple[Any, ...]) -> Any:
        name = _as(Global, function).name
        return self.construct(name, args) if name in self.constructors else Record(name, args)

    def construct(self, name: str, args: tuple[Any, ...]) -> Any:
        """Constructors copy: a short pickle must not make many copies of one long list."""
        self.copied += sum(len(arg) for arg in args if isinstance(arg, Sized))
        if self.copied > MAX_OPERATIONS:
            raise InputError(f"its pickle copies more than {MAX_OPERATIONS} items")
        return self.constructors[name](*args)


_NOTHING = object()


def _global(module: str, name: str) -> Global:
    if len(module) + len(name) > 1000:
        raise ValueError("a global's name is too long")
    return Global(f"{_PYTHON_2.get(module, module)}.{name}")


def _pairs(values: list[Any]) -> dict[Any, Any]:
    keys, rest = values[::2], values[1::2]
    return {_key(key): value for key, value in zip(keys, rest, strict=True)}


def _key(value: Any) -> Any:
    """`value`, if hashing it is cheap: nested tuples can take forever, or overflow the stack."""
    parts = value if isinstance(value, tuple) else (value,)
    if all(isinstance(part, str | int | float | bytes | Global | Record | None) for part in parts):
        return value
    raise TypeError(f"{type(value).__name__} as a key")


def _as(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected, {type(value).__name__} found")
    return value


def _brief(error: Exception) -> str:
    return f"{error}"[:200] or type(error).__name__
