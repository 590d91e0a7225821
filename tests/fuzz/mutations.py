"""Ways to damage a file: bytes at random, and what its format has, by the format's own rules."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable

import onnx
from onnx import AttributeProto, helper

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 65536, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"))
WORDS = (
    "",
    "x",
    "y",
    "nowhere",
    "nearest",
    "linear",
    "cubic",
    "SAME_UPPER",
    "VALID",
    "../up",
    "a\0b",
    "é" * 300,
    "NaN",
)
OPS = (
    "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "ConvTranspose", "Einsum", "Expand", "Flatten", "GRU", "Gather", "Gelu", "Gemm", "GlobalAveragePool",
    "If", "LSTM", "LayerNormalization", "Loop", "MatMul", "MaxPool", "Pad", "Pow", "QuantizeLinear", "Range",
    "ReduceMean", "Reshape", "Resize", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Tile", "TopK", "Transpose",
    "Unsqueeze", "Upsample", "Where",
)  # fmt: skip

Mutate = Callable[[random.Random, bytes], bytes]


def by_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bits flipped, bytes lost, doubled, or replaced."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(damaged)) if damaged else 0
        length = rng.choice((1, 2, 8, 64, 1024))
        kind = rng.randrange(6)
        if not damaged:
            break
        if kind == 0:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            del damaged[at : at + length]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + length]
        elif kind == 4:
            damaged[at : at + length] = bytes([rng.choice((0, 255))]) * min(length, len(damaged) - at)
        else:
            damaged[at : at + length] = rng.randbytes(min(length, len(damaged) - at))
    return bytes(damaged)


def by_text(rng: random.Random, data: bytes) -> bytes:
    """JSON or TOML with a value, a key or a line that is another."""
    text = data.decode("utf-8", "replace")
    tokens = list(re.finditer(r'"[^"\n]*"|-?\d+(?:\.\d+)?|true|false|null|[\[\]{}]|\w+', text))
    if not tokens:
        return by_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        token = rng.choice(tokens)
        other = rng.choice(
            (
                json.dumps(rng.choice(NUMBERS)),
                repr(rng.choice(REALS)),
                json.dumps(rng.choice(WORDS)),
                rng.choice(("[]", "{}", "null", "true", "[1, 2]", '["a", "a"]', "[[1]]", "")),
                rng.choice(tokens)[0],
            )
        )
        text = (
            text.replace(token[0], other, 1)
            if rng.random() < 0.5
            else text[: token.start()] + other + text[token.end() :]
        )
    return text.encode("utf-8", "surrogatepass")


def by_entry(inner: Callable[[str], Mutate]) -> Mutate:
    """A zip with an entry that is damaged, gone, double, or under another name; its checksums are right."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
        at = rng.randrange(len(entries))
        name, content = entries[at]
        kind = rng.randrange(8)
        if kind == 0:
            del entries[at]
        elif kind == 1:
            entries.append((name, content))
        elif kind == 2:
            entries[at] = (rng.choice((*WORDS, rng.choice(entries)[0], f"/{name}", f"{name}/")) or "_", content)
        else:
            entries[at] = (name, inner(name)(rng, content))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for entry, bytes_of in entries:
                archive.writestr(entry.replace("\0", "_"), bytes_of)
        return file.getvalue()

    return mutate


def by_header(rng: random.Random, data: bytes) -> bytes:
    """A safetensors file whose header says something else, and is as long as it says."""
    length = int.from_bytes(data[:8], "little")
    header = by_text(rng, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def by_field(rng: random.Random, data: bytes) -> bytes:
    """An ONNX file with fields that are others, written as protobuf wants it."""
    model = onnx.load_from_string(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_FIELDS)(rng, model)
    return bytes(model.SerializeToString())


def _attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    name = rng.choice(
        [a.name for a in node.attribute] + ["axis", "pads", "mode", "to", "perm", "group", "value", "axes"]
    )
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    value = rng.choice(
        (
            None,
            rng.choice(NUMBERS),
            rng.choice(REALS),
            rng.choice(WORDS[:9]),
            [rng.choice(NUMBERS[:7]) for _ in range(rng.randrange(5))],
            [rng.choice(REALS) for _ in range(2)],
            helper.make_tensor("t", 1, [2], [0.0, 1.0]),
        )
    )
    if isinstance(value, list) and not value:
        node.attribute.append(AttributeProto(name=name, type=AttributeProto.INTS))
    elif value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def _operator(rng: random.Random, model: onnx.ModelProto) -> None:
    rng.choice(model.graph.node).op_type = rng.choice(OPS)


def _wire(rng: random.Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    values = [*(v for n in model.graph.node for v in (*n.input, *n.output)), *WORDS[:4]]
    side = rng.choice((node.input, node.output))
    kind = rng.randrange(3)
    if kind == 0:
        side.append(rng.choice(values))
    elif side and kind == 1:
        del side[rng.randrange(len(side))]
    elif side:
        side[rng.randrange(len(side))] = rng.choice(values)


def _nodes(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    kind, at = rng.randrange(3), rng.randrange(len(nodes))
    if kind == 0:
        del nodes[at]
    elif kind == 1:
        nodes.append(nodes[at])
    else:
        rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not nodes:
        model.graph.ClearField("node")


def _tensor(rng: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    kind = rng.randrange(6)
    if kind == 0:
        tensor.data_type = rng.randrange(0, 26)
    elif kind == 1:
        tensor.raw_data = by_bytes(rng, tensor.raw_data)
    elif kind == 2 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif kind == 3:
        tensor.dims.append(rng.choice((0, 1, 2)))
    elif kind == 4:
        tensor.name = rng.choice(WORDS[:4])
    else:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", rng.choice(("weights", "../weights", "/etc/passwd", "", "."))


def _port(rng: random.Random, model: onnx.ModelProto) -> None:
    side = rng.choice((model.graph.input, model.graph.output))
    if not side:
        return
    value = rng.choice(side)
    kind = rng.randrange(6)
    shape = value.type.tensor_type.shape
    if kind == 0:
        value.name = rng.choice(WORDS[:4])
    elif kind == 1:
        value.type.tensor_type.elem_type = rng.randrange(0, 26)
    elif kind == 2 and shape.dim:
        shape.dim[rng.randrange(len(shape.dim))].dim_value = rng.choice(NUMBERS)
    elif kind == 3:
        shape.dim.add().dim_param = "N"
    elif kind == 4:
        value.type.ClearField("tensor_type")
    else:
        side.append(value)


def _header(rng: random.Random, model: onnx.ModelProto) -> None:
    kind = rng.randrange(5)
    if kind == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice((0, 1, 5, 6, 9, 10, 13, 20, 25, 99, -1))
    elif kind == 1:
        model.ir_version = rng.choice((0, 1, 3, 7, 12, 99))
    elif kind == 2:
        del model.opset_import[:]
    elif kind == 3 and model.opset_import:
        model.opset_import[0].domain = rng.choice(("com.microsoft", "ai.onnx.ml", "x"))
    else:
        rng.choice(model.graph.node).domain = "com.microsoft"


_FIELDS = (_attribute, _attribute, _attribute, _operator, _wire, _wire, _nodes, _tensor, _tensor, _port, _header)
