from __future__ import annotations

import io
import os
import pickle
import pickletools
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.checkpoint import unpickle as machine
from edgefer.checkpoint.unpickle import Global, Record, unpickle
from edgefer.errors import InputError
from tests.checkpoint.torch_files import Call, Name, New, pickled

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
    ),
)


def read(data: bytes) -> Any:
    return unpickle(io.BytesIO(data))


class Runs:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


@given(values, st.integers(3, 5))
def test_plain_data_is_read_as_pickle_reads_it(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@given(st.lists(st.integers() | st.text()), st.integers(0, 2))
def test_old_protocols_are_read_too(value: Any, protocol: int) -> None:
    assert read(pickle.dumps({"a": value, "b": (1.5, True, None)}, protocol)) == {"a": value, "b": (1.5, True, None)}


@given(st.binary(max_size=200))
def test_any_bytes_are_data_or_an_input_error(data: bytes) -> None:
    try:
        read(data)
    except InputError:
        return
    pickletools.dis(data, io.StringIO())  # what was accepted is a well-formed pickle


@pytest.mark.parametrize("data", [b"K\x00\x88.", b"(\x88."], ids=["a value", "a mark"])
def test_what_leaves_something_over_is_no_pickle(data: bytes) -> None:
    with pytest.raises(InputError, match="values are left over at its end"):
        read(data)


@given(values, st.data())
def test_a_damaged_pickle_is_data_or_an_input_error(value: Any, data: st.DataObject) -> None:
    whole = bytearray(pickle.dumps({"key": [value, Path()]}, data.draw(st.integers(0, 5))))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(whole))
    except InputError as error:
        assert str(error)


def test_a_command_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    for protocol in range(6):
        with pytest.raises(InputError, match=r"wants to call (posix|nt)\.system"):
            read(pickle.dumps(Runs(os.system, f"touch {witness}"), protocol))
    with pytest.raises(InputError, match=r"subprocess\.Popen"):
        read(pickle.dumps(Runs(subprocess.Popen, ["touch", str(witness)])))
    assert not witness.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"ios\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031+1\x85R.",
        pickled(Call("builtins.getattr", (Name("os.path"), "join"))),
        pickled({"state_dict": [Call("runpy.run_path", ("x",))]}),
    ],
)
def test_every_way_to_call_a_function_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"refused: the file wants to call|damaged"):
        read(data)


def test_objects_of_known_libraries_become_inert_records() -> None:
    record = read(pickled(New("timm.layers.Thing", {"eps": 1e-3}, args=(1,))))
    assert (record.kind, record.args, record.state) == ("timm.layers.Thing", (1,), {"eps": 1e-3})
    assert read(pickled(Name("os.system"))) == Global("os.system")
    assert isinstance(read(pickled(New("subprocess.Popen"))), Record)


def test_extension_codes_and_buffers_are_refused() -> None:
    with pytest.raises(InputError, match="uses EXT1"):
        read(b"\x80\x02\x82\x01.")
    with pytest.raises(InputError, match="uses NEXT_BUFFER"):
        read(b"\x80\x05\x97.")


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    depth = 200_000
    value = read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


def test_a_cyclic_list_is_read() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    found = read(pickle.dumps(cyclic))
    assert found[0] is found


def test_nested_tuples_as_keys_are_refused_before_they_are_hashed() -> None:
    doubling = b"\x80\x02)" + b"2\x86" * 100  # hashing would visit 2**100 tuples
    with pytest.raises(InputError, match="tuple as a key"):
        read(b"\x80\x02}" + doubling[2:] + b"Ns.")


def test_memory_does_not_follow_the_numbers_in_a_short_pickle() -> None:
    tracemalloc.start()
    assert read(b"\x80\x02Nr\xff\xff\xff\x7f.") is None  # a memo entry with a large number
    for length in (b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x8b\xff\xff\xff\x7f"):  # bytes, and an integer
        with pytest.raises(InputError, match="damaged or truncated"):
            read(b"\x80\x04" + length + b".")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_pickle_that_copies_one_list_again_and_again_is_stopped() -> None:
    bomb = b"\x80\x02](" + b"N" * 10_000 + b"eq\x00" + b"cbuiltins\nlist\nh\x00\x85R" * 1_000 + b"."
    with pytest.raises(InputError, match="copies more than"):
        read(bomb)


def test_a_pickle_with_too_many_operations_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MAX_OPERATIONS", 100)
    with pytest.raises(InputError, match="more than 100 operations"):
        read(b"\x80\x02" + b"N0" * 100 + b"N.")
