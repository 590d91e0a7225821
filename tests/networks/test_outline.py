"""Networks outlined before they are converted."""

import json

import onnx
import pytest

from edgefer.cli.main import main
from edgefer.errors import InputError, UsageError
from edgefer.networks.outline import outline
from tests.converters.checkpoints import SPEC


@pytest.fixture
def network(tmp_path):
    """A convolution and a mean, 3 x 8 x 8 pixels to 7 logits, with an open batch."""
    weights = onnx.helper.make_tensor("w", 1, (7, 3, 3, 3), [0.1] * 189)
    nodes = [
        onnx.helper.make_node("Conv", ["pixels", "w"], ["maps"]),
        onnx.helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(*end) for end in (("pixels", 1, ["N", 3, 8, 8]), ("logits", 1, None))]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_a_network_that_nothing_is_said_of_shows_its_values_and_what_to_write(network):
    found = outline(network)
    assert {name: info.shape for name, info in found.inputs.items()} == {"pixels": (1, 3, 8, 8)}
    assert {name: info.shape for name, info in found.outputs.items()} == {"logits": (1, 7)}
    assert (found.parameters, found.macs) == (189, 189 * 36)
    assert found.operators == {"Conv": 1, "GlobalAveragePool": 1, "Flatten": 1}
    assert found.spec is None and "net.spec.toml" in found.unstated


def test_a_spec_says_what_they_mean(network):
    found = outline(network, spec={**SPEC, "input": {**SPEC["input"], "size": [8, 8]}})
    assert (found.spec.outputs[0].name, found.unstated, found.family) == ("expression", "", "onnx_file")


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(UsageError, match="an artifact"):
        outline(tmp_path / "net_int8.tflite")
    with pytest.raises(InputError, match="no such file, nor is it a bundled network"):
        outline(tmp_path / "none.onnx")


def test_the_command_tells_a_network_from_a_bundle(network, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", str(network), "--json", str(tmp_path / "net.json")])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "1x3x8x8" in printed and "[[outputs]]" in printed
    assert json.loads((tmp_path / "net.json").read_text())["schema"] == "edgefer.outline/1"
    for wrong in ([str(network), "--data", "x"], [str(tmp_path), "--family", "dan"]):
        with pytest.raises(SystemExit) as end:
            main(["inspect", *wrong])
        assert end.value.code == 2
