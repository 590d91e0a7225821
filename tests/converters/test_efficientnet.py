from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import save_file

from edgefer.errors import InputError
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from tests.checkpoint.torch_files import Call, Stored, floats, module, save, save_legacy
from tests.converters.checkpoints import (
    LABELS,
    SHARED,
    SPEC,
    as_old_timm_module,
    as_tensorflow_named,
    assert_equal,
    bundled_tensors,
    run,
    stored,
)

MODELS = SHARED / "models"
with_shared = pytest.mark.skipif(not MODELS.is_dir(), reason="needs ../shared/models")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Any]:
    return bundled_tensors()


def load(path: Path, **options: Any) -> Network:
    return load_network(path, family="efficientnet", **options)


# --- the real files ---------------------------------------------------------------------------------------


@with_shared
def test_the_checkpoint_and_the_pickled_module_give_the_same_network() -> None:
    checkpoint, pickled = (load_network(MODELS / name) for name in ("fer_b0.pt", "fer_b0_module.pt"))
    assert checkpoint.family == pickled.family == "efficientnet"
    assert checkpoint.spec == pickled.spec
    assert checkpoint.spec.outputs[0].labels == tuple(LABELS)
    assert_equal(checkpoint.graph, pickled.graph)


@with_shared
def test_the_network_computes_what_its_onnx_export_computes() -> None:
    image = floats(1, 3, 64, 64)
    session = ort.InferenceSession(MODELS / "fer_b0.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: image})[0]
    np.testing.assert_allclose(run(load_network(MODELS / "fer_b0.pt").graph, image), expected, atol=1e-4)


@with_shared
def test_the_checkpoint_says_what_it_means_by_itself(tmp_path: Path) -> None:
    copy = tmp_path / "fer.pt"  # away from its sidecar
    copy.write_bytes((MODELS / "fer_b0.pt").read_bytes())
    assert load_network(copy).spec == load_network(MODELS / "fer_b0.pt").spec


# --- the same tensors in other wrappings ------------------------------------------------------------------


def test_every_wrapping_of_a_state_dict_gives_the_same_network(tmp_path: Path, tensors: dict[str, Any]) -> None:
    prefixed = {f"module.{name}": array for name, array in stored(tensors).items()}
    save_file(tensors, tmp_path / "plain.safetensors", {"arch": "efficientnet_b0"})
    paths = [
        tmp_path / "plain.safetensors",
        save(tmp_path / "wrapped.ckpt", {"arch": "efficientnet_b0.ra_in1k", "epoch": 1, "state_dict": prefixed}),
        save_legacy(tmp_path / "legacy.pth", {"arch": "efficientnet-b0", "model": stored(tensors)}),
    ]
    first, *others = (load_network(path, spec=SPEC).graph for path in paths)
    for other in others:
        assert_equal(first, other)


@pytest.mark.parametrize(
    ("arch", "same", "eps"), [("efficientnet_b0", False, 1e-5), ("tf_efficientnet_b0_ns", True, 1e-3)]
)
def test_a_module_of_an_old_timm_needs_no_architecture(
    tmp_path: Path, tensors: dict[str, Any], arch: str, same: bool, eps: float
) -> None:
    whole = save(tmp_path / "whole.pt", as_old_timm_module(tensors, same=same, eps=eps))
    bare = save(tmp_path / "bare.pt", stored(tensors))
    network, named = load(whole, spec=SPEC), load(bare, spec=SPEC, arch=arch)
    image = floats(1, 3, 64, 64)
    np.testing.assert_allclose(run(network.graph, image), run(named.graph, image), atol=1e-5)
    assert [node.attributes for node in network.graph.nodes] == [node.attributes for node in named.graph.nodes]


def test_names_of_efficientnet_lite_pytorch_mean_tensorflow_semantics(tmp_path: Path, tensors: dict[str, Any]) -> None:
    timm = save(tmp_path / "timm.pt", stored(tensors))
    other = save(tmp_path / "other.pt", stored(as_tensorflow_named(tensors)))
    expected = load(timm, spec=SPEC, arch="tf_efficientnet_b0").graph
    for arch in ("efficientnet-b0", ""):
        assert_equal(expected, replace(load(other, spec=SPEC, arch=arch).graph, name="timm"))


def test_same_padding_follows_the_input_size(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = save(tmp_path / "x.pt", stored(tensors))
    pads = {}
    for side in (64, 65):
        spec = {**SPEC, "input": {**SPEC["input"], "size": [side, side]}}
        pads[side] = load(path, spec=spec, arch="tf_efficientnet_b0").graph.nodes[0].ints("pads")
    assert pads == {64: (0, 0, 1, 1), 65: (1, 1, 1, 1)}


# --- what is missing or wrong -----------------------------------------------------------------------------


def test_weights_without_an_architecture_say_what_to_write(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = save(tmp_path / "x.pt", stored(tensors))
    with pytest.raises(InputError, match="which architecture") as caught:
        load(path, spec=SPEC)
    assert 'x.spec.toml, first line: arch = "tf_efficientnet_b0"' in caught.value.remedy
    (tmp_path / "x.spec.toml").write_text('arch = "efficientnet_b0"')
    assert load(path, spec=SPEC).name == "x"


def test_weights_without_a_spec_say_what_to_write(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = save(tmp_path / "x.pt", stored(tensors))
    with pytest.raises(InputError, match="input and outputs") as caught:
        load(path, arch="efficientnet_b0")
    assert "x.spec.toml" in caught.value.remedy
    assert "[[outputs]]" in caught.value.remedy


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("resnet50", "unknown architecture 'resnet50'"),
        ("efficientnet_b0_gn", "unknown architecture"),
        ("efficientnet_b1", "it has 16 blocks instead of 23"),
        ("tf_efficientnet_lite0", "its tensors are those of EfficientNet, not of tf_efficientnet_lite0"),
    ],
)
def test_a_wrong_architecture_is_an_error(tmp_path: Path, tensors: dict[str, Any], arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(save(tmp_path / "x.pt", stored(tensors)), spec=SPEC, arch=arch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"blocks.2.1.conv_dw.weight": floats(240, 1, 7, 7)},
            "the nearest is EfficientNet: stage 2 is made of ir5se/ir7se instead of ir5se",
        ),
        ({"blocks.7.0.conv.weight": floats(1, 1, 3, 3)}, "stage 7 is made of cn3 instead of nothing"),
        ({"blocks.5.3.conv_dw.weight": None}, r"blocks\.5\.3 has none of the tensors conv_exp, conv, conv_dw\.weight"),
    ],
)
def test_blocks_of_no_known_design_are_refused_by_what_differs(
    tmp_path: Path, tensors: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    changed = {name: array for name, array in {**tensors, **change}.items() if array is not None}
    with pytest.raises(InputError, match=message):
        load(save(tmp_path / "x.pt", stored(changed)), spec=SPEC, arch="efficientnet_b0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.2.0.bn2.running_var": None}, r"tensor blocks\.2\.0\.bn2\.running_var is missing"),
        ({"classifier.weight": None}, r"tensor classifier\.bias is of no linear layer"),
        ({"bn1.bias": floats(31)}, r"tensor bn1\.bias has shape \[31\] instead of \[32\]"),
        ({"conv_head.weight": floats(1280, 320)}, r"tensor conv_head\.weight has shape"),
        ({"conv_stem.weight": floats(32, 1, 3, 3)}, r"instead of \[any, 3, any, any\]"),
        ({"attention.weight": floats(2)}, r"tensor attention\.weight has no place"),
        ({"bn1.weight": np.full(32, np.nan, np.float32)}, r"tensor bn1\.weight holds values that are not finite"),
    ],
)
def test_a_wrong_tensor_is_named(tmp_path: Path, tensors: dict[str, Any], change: dict[str, Any], message: str) -> None:
    changed = {name: array for name, array in {**tensors, **change}.items() if array is not None}
    with pytest.raises(InputError, match=message):
        load(save(tmp_path / "x.pt", stored(changed)), spec=SPEC, arch="efficientnet_b0")


def test_tensors_of_something_else_are_left_out_and_named(tmp_path: Path, tensors: dict[str, Any]) -> None:
    plain = load(save(tmp_path / "plain.pt", stored(tensors)), spec=SPEC, arch="efficientnet_b0")
    content = {
        "network": {
            **{f"module.model.{name}": array for name, array in stored(tensors).items()},
            "module.centre_loss.centres": Stored(floats(7, 9)),
        },
        "optimizer": {"state": {0: {"exp_avg": Stored(floats(3)), "step": Stored(floats(1))}}, "param_groups": []},
    }
    network = load(save(tmp_path / "x.pt", content), spec=SPEC, arch="efficientnet_b0")
    assert_equal(replace(network.graph, name="plain"), plain.graph)
    assert not plain.notes
    assert network.notes == (
        "left out of x.pt, as no part of the network: optimizer (2 tensors)",
        "left out of x.pt, as no part of the network: centre_loss.centres",
    )


def test_averaged_weights_are_taken_and_told_and_the_user_may_choose_others(
    tmp_path: Path, tensors: dict[str, Any]
) -> None:
    other = {name: array + 1 for name, array in tensors.items()}
    content = {"arch": "efficientnet_b0", "state_dict": stored(other), "state_dict_ema": stored(tensors)}
    path = save(tmp_path / "x.pt", content)
    averaged, chosen = load(path, spec=SPEC), load(path, spec=SPEC, weights="state_dict")
    np.testing.assert_array_equal(averaged.graph.constants["classifier.bias"], tensors["classifier.bias"])
    np.testing.assert_array_equal(chosen.graph.constants["classifier.bias"], other["classifier.bias"])
    (note,) = averaged.notes
    assert "its averaged weights, state_dict_ema, are taken, and not state_dict: --weights chooses" in note


@pytest.mark.parametrize(
    ("path", "part", "message"),
    [
        (("act1",), module("torch.nn.modules.activation.PReLU"), r"module act1 \(PReLU\)"),
        (("global_pool",), module("timm.Pool", pool_type="max"), r"module global_pool \(Pool\)"),
        (("classifier", "1"), module("torch.nn.modules.LayerNorm"), r"module classifier\.1 \(LayerNorm\)"),
    ],
)
def test_a_module_that_is_not_supported_is_named(
    tmp_path: Path, tensors: dict[str, Any], path: tuple[str, ...], part: Any, message: str
) -> None:
    net = as_old_timm_module(tensors, same=False, eps=1e-5)
    parent = net
    for name in path[:-1]:
        parent = parent.state["_modules"][name]
    parent.state["_modules"][path[-1]] = part
    with pytest.raises(InputError, match=message):
        load(save(tmp_path / "x.pt", net), spec=SPEC)


def test_another_network_is_not_recognised(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"conv1.weight": Stored(floats(64, 3, 7, 7)), "fc.weight": Stored(floats(7, 512))})
    with pytest.raises(InputError, match=r"no family recognises it; its tensors are conv1\.weight, fc\.weight"):
        load_network(path)
    with pytest.raises(InputError, match=r"not an EfficientNet: it has no tensor conv_stem\.weight"):
        load(path)


def test_a_hostile_file_is_refused_when_the_family_is_to_be_recognised(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"conv_stem.weight": Call("posix.system", ("true",))})
    with pytest.raises(InputError, match=r"x\.pt: refused: the file wants to call posix\.system"):
        load_network(path)
