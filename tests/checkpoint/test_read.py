from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from edgefer.checkpoint import read_checkpoint
from edgefer.errors import InputError
from tests.checkpoint.torch_files import Call, New, Stored, floats, module, save, save_legacy


def arrays(path: Path) -> dict[str, Any]:
    return {name: tensor.array() for name, tensor in read_checkpoint(path).tensors.items()}


def test_a_state_dict_is_read_from_the_zip_and_from_the_legacy_format(tmp_path: Path) -> None:
    weights = {"a.weight": floats(2, 3), "a.bias": floats(2, seed=1)}
    stored = {name: Stored(array) for name, array in weights.items()}
    for path in (save(tmp_path / "new.pt", stored), save_legacy(tmp_path / "old.pth", stored)):
        found = arrays(path)
        assert {name: array.tolist() for name, array in found.items()} == {k: v.tolist() for k, v in weights.items()}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8", "bool"])
def test_every_element_type_is_read(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 4, 100]]).astype(dtype)
    found = arrays(save(tmp_path / "x.pt", {"x": Stored(array)}))["x"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3e38], np.float32)
    stored = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.float16)
    found = arrays(save(tmp_path / "x.pt", {"x": Stored(stored, type="BFloat16")}))["x"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=0.01)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.slices(5)] * 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_views_are_lifted_as_numpy_sees_them(tmp_path: Path, axes: list[int], cut: tuple[slice, ...]) -> None:
    base = np.arange(125, dtype=np.float32).reshape(5, 5, 5)
    view = base.transpose(axes)[cut]
    if view.size == 0 or min(view.strides) < 0:
        return
    offset = (view.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // 4
    stored = Stored(base, view.shape, tuple(stride // 4 for stride in view.strides), offset)
    np.testing.assert_array_equal(arrays(save(tmp_path / "x.pt", {"x": stored}))["x"], view)


def test_a_wrapped_state_dict_is_found_and_what_lies_beside_it_is_told(tmp_path: Path) -> None:
    content = {"epoch": 3, "arch": "b0", "best": Stored(floats(1)), "state_dict": {"x": Stored(floats(2))}}
    checkpoint = read_checkpoint(save(tmp_path / "x.ckpt", content))
    assert list(checkpoint.tensors) == ["x"]
    assert (checkpoint.fields["epoch"], checkpoint.fields["arch"]) == (3, "b0")


def test_a_pickled_module_is_a_tree_of_names(tmp_path: Path) -> None:
    conv = module("torch.nn.modules.conv.Conv2d", {"weight": Stored(floats(2, 3)), "bias": None}, stride=(2, 2))
    net = module("my.Net", children={"body": module("torch.nn.Sequential", children={"0": conv}), "none": None})
    checkpoint = read_checkpoint(save(tmp_path / "x.pt", net))
    assert list(checkpoint.tensors) == ["body.0.weight"]
    assert list(checkpoint.modules) == ["", "body", "body.0"]
    assert checkpoint.modules["body.0"].kind == "torch.nn.modules.conv.Conv2d"
    assert checkpoint.modules["body.0"].attributes["stride"] == (2, 2)


def test_safetensors_are_read_as_the_library_writes_them(tmp_path: Path) -> None:
    weights = {"a": floats(2, 3, 1), "b": floats(4).astype(np.float16), "scalar": np.array(7, np.int64)}
    save_file(weights, tmp_path / "x.safetensors", {"arch": "b0"})
    checkpoint = read_checkpoint(tmp_path / "x.safetensors")
    assert checkpoint.fields == {"arch": "b0"}
    for name, array in weights.items():
        found = checkpoint.tensors[name].array()
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# weights\nhello there, this is text\n", r"not a checkpoint.*looks like text"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"not a checkpoint.*looks like text"),
        (b"\x00\x01\x02" * 30, "not a checkpoint"),
        (b"\x80\x02K\x01.", "not one that torch.save wrote"),
        (b"PK\x03\x04 and then nothing", "damaged or truncated archive"),
    ],
)
def test_a_file_of_another_kind_is_named_in_the_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(path)
    assert caught.value.message.startswith(f"{path}: ")


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: cannot be read: No such file"):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize("kind", ["new", "old", "safetensors"])
def test_a_file_cut_off_anywhere_is_an_input_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    weights = {"a": floats(3, 3), "b": floats(5)}
    if kind == "safetensors":
        save_file(weights, path)
    else:
        {"new": save, "old": save_legacy}[kind](path, {name: Stored(array) for name, array in weights.items()})
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="x: "):
            read_checkpoint(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_a_file_with_flipped_bytes_is_read_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x"
    stored = {"a": Stored(floats(3, 3)), "b": Stored(floats(5))}
    kind = data.draw(st.sampled_from(["new", "old", "safetensors"]))
    if kind == "safetensors":
        save_file({name: tensor.array for name, tensor in stored.items()}, path)
    else:
        {"new": save, "old": save_legacy}[kind](path, stored)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        arrays(path)
    except InputError as error:
        assert str(path) in error.message


@pytest.mark.parametrize(
    "tensor",
    [
        Stored(floats(4), shape=(5,), strides=(1,)),
        Stored(floats(4), shape=(2,), strides=(4,)),
        Stored(floats(4), shape=(2,), strides=(1,), offset=3),
        Stored(floats(4), shape=(2,), strides=(1,), offset=-1),
        Stored(floats(4), shape=(2,), strides=(-1,), offset=3),
        Stored(floats(4), shape=(2**40, 2**40), strides=(0, 0)),
        Stored(floats(4), shape=(0, 2**62), strides=(1, 1)),
        Stored(floats(4), shape=(2,), strides=(1, 1)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path, tensor: Stored) -> None:
    with pytest.raises(InputError, match=r"x\.pt: damaged: a tensor of shape"):
        read_checkpoint(save(tmp_path / "x.pt", {"x": tensor}))


def test_a_storage_that_claims_another_size_than_it_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 16 bytes instead of 4000000000"):
        read_checkpoint(save(tmp_path / "x.pt", {"x": Stored(floats(4), count=10**9)}))


def test_a_zip_bomb_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"x": Stored(np.zeros(10_000_000, np.float32))}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="compressed or encrypted"):
        read_checkpoint(path)


def test_a_command_in_a_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.pt: refused: the file wants to call posix\.system") as caught:
        read_checkpoint(save(tmp_path / "x.pt", {"state_dict": {"x": Call("posix.system", ("true",))}}))
    assert "torch.save(model.state_dict()" in caught.value.remedy


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"), "a TorchScript archive"),
        (("net/models/model.json", "net/archive_format"), r"a torch\.export archive"),
        (("word/document.xml",), r"an archive without data\.pkl"),
    ],
)
def test_another_kind_of_archive_is_named_with_a_remedy(tmp_path: Path, entries: tuple[str, ...], what: str) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            archive.writestr(entry, "")
    with pytest.raises(InputError, match=what) as caught:
        read_checkpoint(path)
    assert "torch.onnx.export" in caught.value.remedy


def test_quantized_tensors_are_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tensor conv\.weight is stored as torch\._utils\._rebuild_qtensor"):
        read_checkpoint(save(tmp_path / "x.pt", {"conv.weight": Call("torch._utils._rebuild_qtensor")}))


def test_modules_in_a_circle_are_refused(tmp_path: Path) -> None:
    circle = (
        b"\x80\x02cmy\nNet\n)\x81q\x00}(X\x08\x00\x00\x00_modules}X\x04\x00\x00\x00selfh\x00s"
        b"X\x0b\x00\x00\x00_parameters}ub."
    )
    with pytest.raises(InputError, match="in a circle"):
        read_checkpoint(save(tmp_path / "x.pt", None, data_pkl=circle))


def test_modules_that_multiply_are_refused(tmp_path: Path) -> None:
    level = b"cmy\nNet\n)\x81}X\x08\x00\x00\x00_modules}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00usbq\x00"
    leaf = b"cmy\nNet\n)\x81}X\x08\x00\x00\x00_modules}sbq\x00"
    data = b"\x80\x02" + b"0".join([leaf, *[level] * 50]) + b"."  # 0 takes off the stack what the memo keeps
    with pytest.raises(InputError, match="nested too deeply"):
        read_checkpoint(save(tmp_path / "x.pt", None, data_pkl=data))


def test_a_checkpoint_without_weights_says_so(tmp_path: Path) -> None:
    for content in ({"epoch": 3}, [1, 2], New("my.Thing", {"a": 1})):
        with pytest.raises(InputError, match="neither a state dict nor a module"):
            read_checkpoint(save(tmp_path / "x.pt", content))


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"x": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}},
        {"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2]}},
        {"x": 1},
    ],
)
def test_a_wrong_safetensors_header_is_an_input_error(tmp_path: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(InputError, match=r"x\.safetensors: "):
        read_checkpoint(path)


def test_deeply_nested_json_is_an_input_error(tmp_path: Path) -> None:
    text = b'{"x":' + b"[" * 1_000_000
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(InputError, match="header is damaged"):
        read_checkpoint(path)
