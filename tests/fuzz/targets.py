"""What is damaged, and what then reads it: an error of edgefer, or success, is all that may come of it."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import edgefer
from edgefer.checkpoint import read_checkpoint
from edgefer.cli.main import main
from edgefer.emit.tflite import unsupported
from edgefer.errors import NOT_FORESEEN, EdgeferError, FaultError, about
from edgefer.graph.contract import apply_contract
from edgefer.graph.ir import Array
from edgefer.graph.passes import normalise
from edgefer.images import open_images
from edgefer.networks.families import load_network
from tests.checkpoint.torch_files import Stored, save, save_legacy
from tests.conversion.files import spec_text, write_faces
from tests.converters.checkpoints import SPEC as EXPRESSION_SPEC
from tests.converters.checkpoints import bundled_tensors, stored
from tests.evaluation.tiny import SPEC, faces, network
from tests.fuzz.mutations import Mutate, by_bytes, by_entry, by_field, by_header, by_text


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        seed: makes undamaged inputs in a folder; returns them.
        mutations: ways to damage them.
        read: does with a damaged one, in a folder of its own, what users would.
        weight: share of all inputs.
    """

    seed: Callable[[Path], list[Path]]
    mutations: tuple[Mutate, ...]
    read: Callable[[random.Random, Path], None]
    weight: int


class CommandError(EdgeferError):
    """A command ended with an exit code of ours that is not 0."""


def command(*arguments: object) -> None:
    """A command in this process, which ends with one of our exit codes.

    Raises:
        CommandError: it is not 0.
        FaultError: it is that of what nobody foresaw.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        if end.code not in range(6):
            raise AssertionError(f"exit code {end.code}") from end
        if NOT_FORESEEN in said.getvalue():
            raise FaultError(said.getvalue()) from end
        if end.code:
            raise CommandError(said.getvalue()) from end


def _onnx_seeds(folder: Path) -> list[Path]:
    onnx.save(network(), folder / "tiny.onnx")
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "s": np.array([1, 1, 2, 2], np.float32),
        "shape": np.array([0, -1]), "v": rng.normal(size=(9, 1296)).astype(np.float32) / 40,
        "g": np.ones(4, np.float32), "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "st": np.array([1]), "en": np.array([33]),
        "ax": np.array([2]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", auto_pad="SAME_UPPER"),
        helper.make_node("BatchNormalization", ["c", "g", "g", "g", "g"], ["n"], "norm"),
        helper.make_node("Resize", ["n", "", "s"], ["r"], "up", mode="linear"),
        helper.make_node("Pad", ["r", "p"], ["pd"], "pad", mode="reflect"),
        helper.make_node("Slice", ["pd", "st", "en", "ax"], ["sl"], "cut"),
        helper.make_node("MaxPool", ["sl"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("Split", ["m"], ["a", "b"], "split", axis=1, num_outputs=2),
        helper.make_node("Concat", ["b", "a"], ["t"], "join", axis=1),
        helper.make_node("HardSwish", ["t"], ["h"], "swish"),
        helper.make_node("Flatten", ["h"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "v"], ["y"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", 1, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("y", 1, ["N", 9])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    width = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    )
    flat = next(v for v in width.graph.value_info if v.name == "f").type.tensor_type.shape.dim[1].dim_value
    weights = numpy_helper.from_array(rng.normal(size=(9, flat)).astype(np.float32) / 40, "v")
    next(tensor for tensor in graph.initializer if tensor.name == "v").CopyFrom(weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "other.onnx"
    )
    return [folder / "tiny.onnx", folder / "other.onnx"]


def _read_onnx(rng: random.Random, path: Path) -> None:
    net = load_network(path, spec=SPEC)
    with about(path):
        unsupported(apply_contract(normalise(net.graph), net.spec))


def _convert_onnx(rng: random.Random, path: Path) -> None:
    path.with_name(f"{path.stem}.spec.toml").write_text(spec_text())
    write_faces(path.parent / "faces", 4)
    try:
        command("convert", path, "--calibration", path.parent / "faces", "-o", path.parent / "out", "-q")
    finally:
        kept = {"out", "faces", path.name, f"{path.stem}.spec.toml"}
        assert {file.name for file in path.parent.iterdir()} <= kept, "something is left behind"


def _checkpoint_seeds(folder: Path) -> list[Path]:
    tensors = {
        "conv_stem.weight": Stored(np.ones((4, 3, 3, 3), np.float32)),
        "bn1.bias": Stored(np.zeros(4, np.float16)),
        "bn1.count": Stored(np.asarray(3, np.int64)),
    }
    document = {"state_dict": tensors, "arch": "efficientnet_b0", "epoch": 3, "mean": (0.5, 0.5, 0.5), "ok": True}
    save(folder / "network.pt", {"state_dict": stored(_narrow(bundled_tensors())), "arch": "efficientnet_b0"})
    save_legacy(folder / "legacy.pth", document)
    from safetensors.numpy import save_file

    save_file({"a": np.ones((2, 3), np.float32), "conv_stem.weight": np.ones(4, np.float16)}, folder / "w.safetensors")
    return [folder / "network.pt", folder / "legacy.pth", folder / "w.safetensors"]


def _narrow(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The weights of an EfficientNet with a sixteenth of the channels, which is read in no time."""

    def left(name: str, axis: int, size: int) -> int:
        is_of_channels = axis < 2 and size > 3 and (name.split(".")[0], axis) != ("classifier", 0)
        return -(-size // 16) if is_of_channels else size

    return {
        name: np.ascontiguousarray(array[tuple(slice(left(name, *each)) for each in enumerate(array.shape))])
        for name, array in tensors.items()
    }


def _read_checkpoint(rng: random.Random, path: Path) -> None:
    for tensor in read_checkpoint(path).tensors.values():
        tensor.array()
    load_network(path, spec=EXPRESSION_SPEC)


def _checkpoint(rng: random.Random, data: bytes) -> bytes:
    if data[:2] == b"PK":
        return by_entry(lambda name: by_bytes)(rng, data)
    return by_header(rng, data) if data[8:9] == b"{" else by_bytes(rng, data)


def _array_seeds(folder: Path) -> list[Path]:
    np.savez(folder / "a.npz", images=faces(3), labels=np.arange(3), label_names=np.array(["happy", "sad", "x"]))
    np.savez_compressed(folder / "b.npz", images=faces(2)[..., None].repeat(3, 3), valence=np.zeros((2, 2)))
    return [folder / "a.npz", folder / "b.npz"]


def _zip_seeds(folder: Path) -> list[Path]:
    write_faces(folder / "happy", 2)
    shutil.make_archive(str(folder / "faces"), "zip", folder, "happy")
    return [folder / "faces.zip"]


def _read_images(rng: random.Random, path: Path) -> None:
    images = open_images(path)
    for index in range(len(images)):
        images.read(index)


def _spec_seeds(folder: Path) -> list[Path]:
    onnx.save(network(), folder / "tiny.onnx")
    (folder / "tiny.spec.toml").write_text(spec_text())
    return [folder / "tiny.spec.toml"]


def _read_spec(rng: random.Random, path: Path) -> None:
    onnx.save(network(), path.with_name("tiny.onnx"))
    net = load_network(path.with_name("tiny.onnx"))
    with about(path):
        apply_contract(normalise(net.graph), net.spec)


def _bundle_seeds(folder: Path) -> list[Path]:
    onnx.save(network(), folder / "tiny.onnx")
    np.savez(folder / "faces.npz", images=faces(8))
    bundle = edgefer.convert(folder / "tiny.onnx", folder / "bundle", spec=SPEC, calibration=folder / "faces.npz")
    archive = folder / "bundle.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", bundle.path)
    return [archive]


def _inner(name: str) -> Mutate:
    return by_text if name.endswith((".json", ".txt", "SUMS")) else by_bytes


def _read_bundle(rng: random.Random, path: Path) -> None:
    """The zip is only how a bundle travels here; half of them carry the sums of what they hold."""
    bundle = path.with_suffix("")
    try:
        shutil.unpack_archive(path, bundle)
    except Exception:  # a name that cannot be
        return
    np.savez(path.with_name("faces.npz"), images=faces(2))
    if rng.random() < 0.7 and not (bundle / "SHA256SUMS").is_dir():
        files = sorted(file for file in bundle.rglob("*") if file.is_file() and file.name != "SHA256SUMS")
        sums = "".join(f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
        (bundle / "SHA256SUMS").write_text(sums)
    data = path.with_name("faces.npz")
    todo: list[tuple[Any, ...]] = [
        ("inspect", bundle), ("evaluate", bundle, "--data", data), ("package", bundle, "-o", path.with_name("p.zip")),
        ("check", bundle, "--baseline", path.with_name("none.json"), "--update-baseline"),
    ]  # fmt: skip
    command(*rng.choice(todo), "-q")


def _package_seeds(folder: Path) -> list[Path]:
    onnx.save(network(), folder / "tiny.onnx")
    np.savez(folder / "faces.npz", images=faces(8))
    bundle = edgefer.convert(folder / "tiny.onnx", folder / "bundle", spec=SPEC, calibration=folder / "faces.npz")
    edgefer.package(bundle, folder / "app.zip")
    return [folder / "app.zip"]


TARGETS = {
    "onnx": Target(_onnx_seeds, (by_bytes, by_field, by_field, by_field), _read_onnx, 40),
    "convert": Target(_onnx_seeds, (by_field,), _convert_onnx, 2),
    "checkpoint": Target(_checkpoint_seeds, (by_bytes, _checkpoint), _read_checkpoint, 20),
    "npz": Target(_array_seeds, (by_bytes, by_entry(lambda name: by_bytes)), _read_images, 10),
    "zip": Target(_zip_seeds, (by_bytes, by_entry(lambda name: by_bytes)), _read_images, 10),
    "spec": Target(_spec_seeds, (by_bytes, by_text, by_text), _read_spec, 10),
    "bundle": Target(_bundle_seeds, (by_entry(_inner),), _read_bundle, 4),
    "package": Target(_package_seeds, (by_bytes, by_entry(_inner)), lambda rng, path: command("verify", path, "-q"), 4),
}
