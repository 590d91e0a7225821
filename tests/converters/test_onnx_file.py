from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgefer.errors import InputError
from edgefer.graph.contract import apply_contract
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from edgefer.spec import Spec
from tests.converters.checkpoints import SHARED, SPEC
from tests.emit.harness import run_model


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
    (tmp_path / "x.spec.toml").write_text('[[states]]\nname = "a"\ninput = "h"\noutput = "hn"\nshape = [1, 2]\n')
    assert load_network(path, spec=spec(24)).spec.states == ()
    assert load_network(path, spec={"outputs": SPEC["outputs"]}).spec.input.size == (8, 8)
    with pytest.raises(InputError, match="'h'"):
        load_network(path)


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
        (([1, 3],), "has not the four axes of an image"),
        (([1, 16, 3, 8, 8],), "a clip of several images"),
        (([1, 4, 64, 64],), r"as NCHW of 4 channels, not 1 or 3"),
    ],
)
def test_an_input_that_is_not_one_image_is_an_error(
    tmp_path: Path, shapes: tuple[list[Any], ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_network(write(tmp_path / "x.onnx", *shapes), spec=SPEC)


def save(path: Path, body: str, inputs: str = "float[1,3,8,8] x", outputs: str = "float[1,7] y") -> Path:
    """A network written as text; `w` weighs three channels, `v` one."""
    body = f"{body} m = GlobalAveragePool(c) y = Flatten(m)"
    signature = f"g ({inputs}) => ({outputs}) <float[7,3,3,3] w, float[7,1,3,3] v>"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {signature} {{ {body} }}')
    rng = np.random.default_rng(0)
    for name, channels in (("w", 3), ("v", 1)):
        array = rng.normal(size=(7, channels, 3, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return path


def spec(**input: Any) -> dict[str, Any]:
    head = {"name": "mood", "kind": "expression", "labels": list("abcdefg")}
    return {"input": {"size": [8, 8], "mean": [0.4] * 3, "std": [0.3] * 3, **input}, "outputs": [head]}


def assert_reference_is_the_original(network: Network, tolerance: float = 1e-4) -> None:
    """What the artifacts' float reference makes of pixels is what the user's file makes of what it is fed."""
    reference = to_onnx(apply_contract(normalise(network.graph), network.spec))
    assert network.original is not None
    session = onnxruntime.InferenceSession(network.original.model)
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (*network.spec.input.size, 3), np.uint8)
        expected = session.run(None, dict(network.original.feed(pixels)))[0][:1]
        found = run_model(reference, {"image": pixels[np.newaxis]})[network.spec.outputs[0].name]
        np.testing.assert_allclose(found, expected, tolerance, tolerance * np.abs(expected).max())


NHWC = "t = Transpose<perm = [0, 3, 1, 2]>(x) c = Conv(t, w)"
PIXELS = "f = Cast<to = 1>(x) k = Constant<value_float = 127.5>() d = Div(f, k) e = Sub(d, k) "


@pytest.mark.parametrize(
    ("inputs", "body", "stated"),
    [
        ("float[1,1,8,8] x", "c = Conv(x, v)", {}),
        ("float[N,1,H,W] x", "c = Conv(x, v)", {"color": "GRAY", "mean": [0.4], "std": [0.3], "gray": [0.2, 0.7, 0.1]}),
        ("float[1,1,8,8] x", "r = Concat<axis = 1>(x, x, x) c = Conv<pads = [1, 1, 1, 1]>(r, w)", {}),
        ("float[1,8,8,3] x", NHWC, {"color": "BGR"}),
        ("float[N,H,W,C] x", NHWC, {"layout": "NHWC"}),
        ("uint8[N,8,8,3] x", PIXELS + "t = Transpose<perm = [0, 3, 1, 2]>(e) c = Conv(t, w)", {}),
        ("uint8[1,3,8,8] x", PIXELS + "c = Conv<pads = [1, 1, 1, 1]>(e, w)", {"color": "BGR"}),
        ("float[1,3,8,8] x, float[B,2] unused", "c = Conv(x, w)", {}),
        ("float[1,3,8,8] x", "r = Relu(x) c = Conv(r, w)", {"color": "BGR"}),
        ("float[4,3,8,8] x", "s = Constant<value_ints = [4, 3, 8, 8]>() r = Reshape(x, s) c = Conv(r, w)", {}),
    ],
)
def test_an_image_of_any_layout_channels_and_type_is_read(
    tmp_path: Path, inputs: str, body: str, stated: dict[str, Any]
) -> None:
    network = load_network(save(tmp_path / "x.onnx", body, inputs), spec=spec(**stated))
    channels = 1 if "1,8,8]" in inputs or ",1,H" in inputs else 3
    assert network.graph.shape(network.graph.inputs[0]) == (1, channels, 8, 8)
    assert network.spec.input.color == ("GRAY" if channels == 1 else stated.get("color", "RGB"))
    assert network.spec.input.layout == ("NHWC" if "3] x" in inputs or "C] x" in inputs else "")
    assert_reference_is_the_original(network)


def test_pixels_that_a_file_normalises_itself_are_not_normalised_twice(tmp_path: Path) -> None:
    path = save(tmp_path / "x.onnx", PIXELS + "c = Conv(e, w)", "uint8[1,3,8,8] x")
    stated = load_network(path, spec=spec())
    assert stated.notes == ("it takes uint8 pixels and normalises them itself: mean and std are left out",)
    silent = spec()
    del silent["input"]["mean"], silent["input"]["std"]
    network = load_network(path, spec=silent)
    assert (network.notes, network.spec) == ((), stated.spec)
    assert network.spec.input.std == (1 / 255,) * 3


def test_inputs_that_nothing_reads_are_left_out_and_told(tmp_path: Path) -> None:
    network = load_network(save(tmp_path / "x.onnx", "c = Conv(x, w)", "float[1,3,8,8] x, int64[N] z"), spec=spec())
    assert (network.graph.inputs, len(network.notes)) == (("x",), 1)
    assert "'z' is left out" in network.notes[0]


def test_a_state_beside_the_image_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.onnx", "a = Conv(x, w) c = Add(a, h)", "float[1,3,8,8] x, float[1,7,1,1] h")
    with pytest.raises(InputError, match=r"depend on 2 inputs \(x \[1, 3, 8, 8\], h \[1, 7, 1, 1\]\)"):
        load_network(path, spec=spec())
    path = save(tmp_path / "x.onnx", "a = Conv(x, w) c = Add(a, h)", "float[1,3,8,8] x, float[1,7,6,6] h")
    state = {"name": "h", "input": "h", "output": "c", "shape": [1, 7, 6, 6]}
    network = load_network(path, spec={**spec(), "states": [state]})
    assert network.graph.inputs == ("x", "h")
    with pytest.raises(InputError, match=r"no output depends on an input 'g', which the Spec's"):
        load_network(path, spec={**spec(), "states": [{**state, "input": "g"}]})


def test_an_image_is_no_clip(tmp_path: Path) -> None:
    path = save(tmp_path / "x.onnx", "c = Conv(x, w)", "float[1,3,8,8] x")
    with pytest.raises(InputError, match=r"is \[1, 3, 8, 8\], and the Spec makes it clips, input.frames") as caught:
        load_network(path, spec=spec(frames=16))
    assert "leave out frames" in caught.value.remedy


@pytest.mark.parametrize(
    ("channels", "color", "remedy"), [(1, "RGB", 'State color = "GRAY"'), (3, "GRAY", 'State color = "RGB"')]
)
def test_a_stated_colour_that_the_file_has_not_is_an_error(
    tmp_path: Path, channels: int, color: str, remedy: str
) -> None:
    path = save(tmp_path / "x.onnx", f"c = Conv(x, {'v' if channels == 1 else 'w'})", f"float[1,{channels},8,8] x")
    with pytest.raises(InputError, match=f"has {channels} channels, but the Spec's color is {color}") as caught:
        load_network(path, spec=spec(color=color))
    assert caught.value.remedy.startswith(remedy)


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
