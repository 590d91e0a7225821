"""Files that a conversion starts from: a network of a few nodes with three heads, its Spec, images."""

from pathlib import Path

import cv2
import onnx

from tests.evaluation.tiny import SPEC, faces, network


def write_network(path: Path, model: onnx.ModelProto | None = None, *, spec: bool = True) -> Path:
    """An ONNX file and, beside it, the Spec as its sidecar."""
    onnx.save(model or network(), path)
    if spec:
        path.with_name(f"{path.stem}.spec.toml").write_text(spec_text())
    return path


def spec_text() -> str:
    """The Spec of `tiny.network` as TOML."""
    tables = [("[input]", SPEC["input"]), *(("[[outputs]]", head) for head in SPEC["outputs"])]
    return "".join(
        f"{title}\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items()) for title, table in tables
    )


def _toml(value: object) -> str:
    return repr(value).replace("'", '"')


def write_faces(folder: Path, count: int = 30, seed: int = 5) -> Path:
    """A folder of PNG files, 20 x 24."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(faces(count, seed)):
        _, data = cv2.imencode(".png", image)
        (folder / f"{index:03}.png").write_bytes(data.tobytes())
    return folder


def replaced(model: onnx.ModelProto, name: str, op: str) -> onnx.ModelProto:
    """`model` with another operator in the node of that name."""
    node = next(node for node in model.graph.node if node.name == name)
    node.op_type = op
    del node.input[1:]
    return model
