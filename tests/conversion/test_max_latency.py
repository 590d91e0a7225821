import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import onnx
import pytest

import edgefer
from edgefer.cli.convert import summary
from edgefer.cli.main import main
from edgefer.conversion.convert import convert
from edgefer.conversion.max_latency import parse_latency
from edgefer.device.results import SCHEMA
from edgefer.graph.onnx_io import to_onnx
from edgefer.packaging.card import model_card
from edgefer.packaging.provenance import Provenance
from edgefer.quantize.costs.machines import LITERT_X86
from tests.conversion.files import write_faces, write_network
from tests.graph import networks
from tests.graph.networks import numbers


@pytest.fixture
def faces(tmp_path):
    return write_faces(tmp_path / "faces")


@pytest.fixture
def model(tmp_path):
    return write_network(tmp_path / "tiny.onnx")


def test_a_bound_on_latency_is_kept_by_removing_channels(faces, tmp_path, monkeypatch):
    text = """
    a = Conv<kernel_shape=[3, 3], strides=[2, 2]>(x, w)
    b = Relu(a)
    c = Conv<kernel_shape=[3, 3], strides=[2, 2]>(b, u)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    logits = Gemm<transB=1>(f, v)
    """
    constants = {"w": numbers(64, 3, 3, 3), "u": numbers(64, 64, 3, 3, seed=1), "v": numbers(3, 64, seed=2)}
    onnx.save(to_onnx(networks.network(text, "logits", constants, x=(1, 3, 16, 12))), tmp_path / "slow.onnx")
    spec = {
        "input": {"size": [16, 12], "mean": [0.5] * 3, "std": [0.25] * 3},
        "outputs": [{"name": "mood", "kind": "expression", "activation": "softmax", "labels": ["a", "b", "c"]}],
    }
    options = {"calibration": faces, "spec": spec, "max_latency": "0.6x@pi5", "target": "pi5"}
    monkeypatch.setattr("edgefer.shrink.shrink.find_spec", lambda name: None)  # as where torch is missing
    bundle = convert(tmp_path / "slow.onnx", tmp_path / "out", **options, shrink=True)
    found = bundle.manifest["latency"]
    assert found["asked"] == "0.6x@pi5" and found["unit"] == "instructions"
    assert 0.3 * found["allowed"] < found["expected"] <= found["allowed"]
    assert bundle.manifest["quantization"]["shrunk"]["learned_steps"] == 0
    assert bundle.manifest["rounds"][-1]["macs"] < 0.6 * bundle.manifest["quantization"]["shrunk"]["macs_before"]
    schema = json.loads(files("edgefer").joinpath("schemas", "bundle-1.schema.json").read_bytes())
    jsonschema.validate(bundle.manifest, schema)
    report, costs_of = (bundle.path / "report.html").read_text(), found["costs_of"]
    assert "Smaller and smaller" in report and f"times full int8, by what operators cost on {costs_of}" in report
    assert f"The latency of 0.6x@pi5 holds: {100 * found['expected'] / found['allowed']:.1f} % of it" in report
    kept = f"{found['expected'] / found['allowed']:.1%} of what --max-latency 0.6x@pi5 allows on {costs_of}"
    assert kept in summary(bundle, dict.fromkeys((artifact.file for artifact in bundle.artifacts), 1.0))
    card = model_card(bundle, Provenance.of(bundle), None, "", "").decode()
    removed = bundle.manifest["quantization"]
    left = removed["shrunk"]["parameters"] - removed["left_out"]
    assert f"{left:,} parameters, {bundle.artifacts[0].macs / 1e6:,.1f} M multiply-accumulates a frame" in card
    assert f"channels that mattered least were removed, of {removed['parameters']:,} parameters and" in card
    assert "were fitted by least squares, and not learned again" in card
    learned = replace(Provenance.of(bundle), learned_steps=8)
    assert "learned again, on 24 images, to answer as" in model_card(bundle, learned, None, "", "").decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20ms", "no bound on latency"),
        ("0x@pi5", "no bound on latency"),
        ("20ms@pi5", "known in instructions, not in time"),
        ("20ms@nowhere.json", "nowhere.json"),
    ],
)
def test_a_bound_on_latency_that_says_nothing_is_refused(model, faces, tmp_path, text, message):
    with pytest.raises(edgefer.EdgeferError, match=message):
        convert(model, tmp_path / "out", calibration=faces, max_latency=text)


def test_a_bound_on_latency_may_be_in_time_by_a_board_s_own_costs(tmp_path):
    path = tmp_path / "board.json"
    path.write_text(json.dumps({"schema": SCHEMA, "runs": [{"operator_costs": LITERT_X86.to_dict()}]}))
    bound = parse_latency(f"2.5 ms @ {path}")
    assert (bound.amount, bound.is_relative, bound.machine.unit) == (2.5e6, False, "ns")


def test_a_bound_on_latency_that_is_missed_is_told_with_what_would_help(model, faces, tmp_path, capsys):
    command = ["convert", model, "--calibration", faces, "--max-latency", "0.5x@pi4", "-o", tmp_path / "out"]
    with pytest.raises(SystemExit) as ended:
        main([str(part) for part in command])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert "The latency of 0.5x@pi4 does not hold" in (tmp_path / "out" / "report.html").read_text()
    assert "over the latency:" in error and "times what --max-latency 0.5x@pi4 allows" in error and "--shrink" in error
