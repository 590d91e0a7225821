from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgefer.errors import InputError
from edgefer.networks.families import load_network
from edgefer.spec import Spec
from tests.converters.checkpoints import SHARED, SPEC


def write(path: Path, *shapes: list[Any], metadata: str = "") -> Path:
    """A network that pools an image."""
    inputs = [onnx.helper.make_tensor_value_info(f"x{i}", 1, shape) for i, shape in enumerate(shapes)]
    nodes = [onnx.helper.make_node("ReduceSum", ["x0"], ["y"], keepdims=0)]
    output = onnx.helper.make_tensor_value_info("y", 1, None)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", inputs, [output]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    if metadata:
        onnx.helper.set_model_props(model, {"edgefer.spec": metadata})
    onnx.save(model, path)
    return path


def test_the_spec_comes_from_options_then_the_sidecar_then_metadata(tmp_path: Path) -> None:
    def spec(side: int) -> dict[str, Any]:
        return {**SPEC, "input": {**SPEC["input"], "size": [side, side]}}

    path = write(tmp_path / "x.onnx", ["N", 3, "H", "W"], metadata=json.dumps(Spec.from_dict(spec(8)).to_dict()))
    assert load_network(path).graph.shape("x0") == (1, 3, 8, 8)
    (tmp_path / "x.spec.toml").write_text("[input]\nsize = [16, 16]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n")
    assert load_network(path).spec.input.size == (16, 16)
    network = load_network(path, spec=spec(24))
    assert (network.spec.input.size, network.family, network.name) == ((24, 24), "onnx_file", "x")


def test_a_file_that_does_not_say_what_it_means_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input and outputs") as caught:
        load_network(write(tmp_path / "x.onnx", [1, 3, 8, 8]))
    assert "x.spec.toml" in caught.value.remedy


@pytest.mark.parametrize("metadata", ["{", "[]", '{"input": 1, "outputs": []}'])
def test_damaged_metadata_is_named(tmp_path: Path, metadata: str) -> None:
    with pytest.raises(InputError, match=r"x\.onnx: "):
        load_network(write(tmp_path / "x.onnx", [1, 3, 8, 8], metadata=metadata))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (([1, 64, 64, 3],), r"its input 'x0' is NHWC"),
        (([1, 1, 64, 64],), "not a colour image"),
        (([1, 3],), "not a colour image"),
        (([1, 3, 64, 64], [1, 3]), "it has 2 inputs"),
    ],
)
def test_an_input_that_is_not_one_nchw_image_is_an_error(
    tmp_path: Path, shapes: tuple[list[Any], ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_network(write(tmp_path / "x.onnx", *shapes), spec=SPEC)


def test_a_truncated_file_is_named_in_the_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", [1, 3, 64, 64])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"x\.onnx: not a readable ONNX file"):
        load_network(path, spec=SPEC)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/models")
def test_the_exported_network_reads_with_its_sidecar() -> None:
    network = load_network(SHARED / "models" / "fer_b0.onnx")
    assert network.graph.shape(network.graph.inputs[0]) == (1, 3, 64, 64)
    assert network.spec.outputs[0].labels[3] == "happy"
