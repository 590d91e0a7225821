from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefer.checkpoint import Checkpoint, read_checkpoint
from edgefer.checkpoint.choose import is_foreign
from edgefer.errors import InputError
from tests.checkpoint.torch_files import Call, New, Stored, floats, module, save, save_legacy

ANCHOR = re.compile(r"(?P<prefix>(?:.*\.)?)stem\.weight")


def net(seed: int = 0, prefix: str = "") -> dict[str, Stored]:
    return {f"{prefix}stem.weight": Stored(floats(3, seed=seed)), f"{prefix}head.weight": Stored(floats(2, seed=seed))}


def read(folder: Path, content: Any, weights: str = "") -> Checkpoint:
    return read_checkpoint(save(folder / "x.pt", content), weights, ANCHOR)


@pytest.mark.parametrize(
    "content",
    [
        net(),
        {"network": net()},
        [net(), 7],
        {"checkpoint": {"nets": [{"epoch": 1}, net()]}},
        net(prefix="module."),
        {"state_dict": net(prefix="_orig_mod.module.model.")},
        [("stem.weight", Stored(floats(3))), ("head.weight", Stored(floats(2)))],
        {"stem": {"weight": Stored(floats(3))}, "head": {"weight": Stored(floats(2))}},
        New("my.Trainer", {"model": net()}),
        {"ema": module("timm.utils.ModelEmaV2", {}, {"module": module("my.Net", {"stem.weight": Stored(floats(3))})})},
        {"state_dict": net(), "config": Call("types.SimpleNamespace", ())},
        {"weights": net(), "optimizer": {"state": {i: {"exp_avg": Stored(floats(9))} for i in range(20)}}},
    ],
)
def test_weights_are_found_wherever_they_lie(tmp_path: Path, content: Any) -> None:
    checkpoint = read(tmp_path, content)
    np.testing.assert_array_equal(checkpoint.tensors["stem.weight"].array(), floats(3))
    assert set(checkpoint.tensors) <= {"stem.weight", "head.weight"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("array", [floats(2, 3), np.asfortranarray(floats(2, 3)), floats(2).astype(">f8"), floats()])
def test_arrays_of_numpy_are_tensors(tmp_path: Path, array: Any, protocol: int) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"stem.weight": array, "names": np.array(["a"]), "n": np.float32(1)}, protocol))
    (tensor,) = read_checkpoint(path).tensors.values()
    np.testing.assert_array_equal(tensor.array(), array)
    assert tensor.array().dtype == array.dtype.newbyteorder("=")


def test_an_array_that_is_smaller_than_its_shape_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"x": floats(2)}, 4).replace(b"K\x02\x85", b"K\x07\x85"))
    with pytest.raises(InputError, match="a damaged array of numpy: 8 bytes are not float32 of shape"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "taken", "told"),
    [
        ({"state_dict": net(), "state_dict_ema": net(1)}, "state_dict_ema", "state_dict"),
        ({"model": net(), "model_ema": net(1)}, "model_ema", "model"),
        ({"model": net(), "state_dict": net(1)}, "state_dict", "model"),
        ({**net(prefix="model."), **net(1, "model_ema.module.")}, "model_ema.module", "model"),
        ({"best": net(), "model": net(1)}, "model", "best"),
        ({"student": net(1), "teacher": net()}, "student", "teacher"),
        ({**net(1), **net(prefix="teacher.")}, "the file itself", "teacher"),
    ],
)
def test_of_several_sets_timms_choice_is_taken_and_told(tmp_path: Path, content: Any, taken: str, told: str) -> None:
    checkpoint = read(tmp_path, content)
    np.testing.assert_array_equal(checkpoint.tensors["stem.weight"].array(), floats(3, seed=1))
    (note,) = checkpoint.notes
    assert f"{taken}, are taken, and not {told}: --weights chooses" in note
    assert len(checkpoint.tensors) == 2
    if told != "the file itself":
        other = read(tmp_path, content, told)
        np.testing.assert_array_equal(other.tensors["stem.weight"].array(), floats(3))


def test_sets_of_equal_standing_are_not_chosen_between(tmp_path: Path) -> None:
    content = {"first": net(), "second": net(1)}
    with pytest.raises(InputError, match="holds 2 sets of weights, first, second") as caught:
        read(tmp_path, content)
    assert "--weights first" in caught.value.remedy
    assert read(tmp_path, content, "second").tensors["head.weight"].array()[0] == floats(2, seed=1)[0]
    with pytest.raises(InputError, match="has no weights at 'third'") as caught:
        read(tmp_path, content, "third")
    assert "Choose from first, second" in caught.value.remedy


def test_a_key_may_be_the_last_part_of_where_weights_lie(tmp_path: Path) -> None:
    content = {"state_dict": {**net(prefix="a."), **net(1, "b.")}}
    assert read(tmp_path, content, "b").tensors["head.weight"].array()[0] == floats(2, seed=1)[0]


def test_what_a_wrapper_holds_beside_the_network_is_told_apart(tmp_path: Path) -> None:
    inner = {"backbone": module("my.Net", children={"stem": module("my.Conv", {"weight": Stored(floats(3))})})}
    whole = module("my.Wrapper", children={**inner, "head": module("torch.nn.Linear", {"weight": Stored(floats(2))})})
    flat = {**net(prefix="module.backbone."), "module.head.weight": Stored(floats(2))}
    for content in (whole, {"net": whole}, flat, {"state_dict": flat, "epoch": 3}):
        checkpoint = read(tmp_path, content)
        assert list(checkpoint.beside) == ["head.weight"]
        assert "stem.weight" in checkpoint.tensors
    checkpoint = read(tmp_path, {"net": whole})
    assert sorted(checkpoint.modules) == ["", "stem"]
    assert sorted(checkpoint.beside_modules) == ["", "head"]


def test_without_a_name_to_look_for_the_network_is_what_has_most_tensors(tmp_path: Path) -> None:
    content = {
        "optimizer": {"state": {i: {"exp_avg": Stored(floats(9)), "sq": Stored(floats(9))} for i in range(20)}},
        "epoch": 3,
        "weights": net(),
        "loss": {"a": Stored(floats(1)), "b": Stored(floats(1)), "c": Stored(floats(1))},
    }
    checkpoint = read_checkpoint(save(tmp_path / "x.pt", content))
    assert list(checkpoint.tensors) == ["stem.weight", "head.weight"]
    assert checkpoint.fields["epoch"] == 3
    assert checkpoint.notes == (
        "left out of x.pt, as no part of the network: optimizer (40 tensors), loss (3 tensors)",
    )


def test_tensors_of_training_are_known_by_their_names() -> None:
    assert is_foreign("center_loss.centers") and is_foreign("teacher.conv.weight") and is_foreign("state.optimizer.0")
    assert not is_foreign("blocks.0.weight") and not is_foreign("lossless.weight")


# --- damage -----------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_found_by_its_checksum(tmp_path: Path) -> None:
    array = floats(100)
    path = save(tmp_path / "x.pt", {"good": Stored(floats(3)), "bad": Stored(array)})
    whole = path.read_bytes()
    position = whole.index(array.tobytes()) + 50
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    tensors = read_checkpoint(path).tensors
    np.testing.assert_array_equal(tensors["good"].array(), floats(3))
    with pytest.raises(InputError, match=r"x\.pt: damaged: .* do not match their checksum"):
        tensors["bad"].array()


def test_a_flipped_bit_in_the_pickle_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"some_name": Stored(floats(3))})
    path.write_bytes(path.read_bytes().replace(b"some_name", b"some_mame"))
    with pytest.raises(InputError, match=r"its entry archive/data\.pkl do not match their checksum"):
        read_checkpoint(path)


def test_a_file_that_was_saved_without_checksums_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"x": Stored(floats(3))})
    whole = bytearray(path.read_bytes())
    start = 0
    while (start := whole.find(b"PK\x01\x02", start)) >= 0:  # as torch.serialization.set_crc32_options(False) does
        whole[start + 16 : start + 20] = bytes(4)
        start += 4
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_checkpoint(path).tensors["x"].array(), floats(3))


def test_weights_that_overlap_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"a": Stored(floats(64)), "b": Stored(floats(64, seed=1))})
    whole = bytearray(path.read_bytes())
    entries = [match.start() for match in re.finditer(b"PK\x01\x02", whole)]
    first, second = (e for e in entries if b"archive/data/" in whole[e : e + 64])
    whole[second + 42 : second + 46] = whole[first + 42 : first + 46]  # where the entry lies
    path.write_bytes(whole)
    with pytest.raises(InputError, match="damaged: weights overlap"):
        read_checkpoint(path)


def test_a_legacy_file_in_a_list_is_read(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save_legacy(tmp_path / "x.pth", [net(), {"epoch": 1}]), anchor=ANCHOR)
    np.testing.assert_array_equal(checkpoint.tensors["head.weight"].array(), floats(2))
