import json
import shutil

import pytest

from edgefer.bundle import Bundle
from edgefer.cli.main import main
from edgefer.errors import InputError
from edgefer.evaluation.inspection import inspect


def test_operators_are_counted_by_what_they_compute_in(tiny):
    counts = {count.op: (count.int8, count.float) for count in inspect(tiny.path).operators}
    assert counts["Conv"] == (2, 0)
    assert counts["Conv+Relu6"] == (1, 0)
    assert counts["Add+Relu"] == (1, 0)
    assert counts["Softmax"] == (0, 1)
    assert counts["Mul"] == (1, 0)


def test_tensors_tell_how_they_are_stored(tiny):
    tensors = {tensor.name: tensor for tensor in inspect(tiny).tensors}
    assert (tensors["image"].op, tensors["image"].dtype, tensors["image"].bytes) == ("input", "uint8", 768)
    weights = tensors["w1"]
    assert (weights.op, weights.dtype, weights.bytes, weights.scales) == ("constant", "int8", 216, 8)
    assert weights.zero_point is None
    gate = tensors["s1"]
    assert (gate.op, gate.shape, gate.scale, gate.zero_point) == ("Sigmoid", (1, 8, 8, 8), (1 / 256, 1 / 256), -128)
    assert tensors["expression"].dtype == "float32"
    assert tensors["expression"].scale is None


def test_nothing_of_a_small_network_is_left_to_slow_kernels(tiny):
    assert inspect(tiny).undelegated == ()


def test_the_largest_tensors_come_first(tiny):
    inspection = inspect(tiny)
    sizes = [tensor.bytes for tensor in inspection.largest(4, constants=True)]
    assert sizes == sorted(sizes, reverse=True)
    assert max(t.bytes for t in inspection.tensors if t.op == "constant") == sizes[0]


def test_images_add_the_view_of_the_layers(tiny, save):
    assert inspect(tiny).layers is None
    assert inspect(tiny, save(3)).layers.images == 3


def test_an_altered_bundle_is_refused(tiny, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "altered")
    (tmp_path / "altered" / "plan.json").write_text("{}")
    with pytest.raises(InputError, match="altered"):
        inspect(tmp_path / "altered")


def test_a_bundle_without_onnx_artifact_can_be_inspected_too(tiny, tmp_path):
    artifacts = [entry for entry in tiny.manifest["artifacts"] if entry["file"] != "tiny_int8.onnx"]
    inspection = inspect(Bundle(tiny.path, {**tiny.manifest, "artifacts": artifacts}))
    assert inspection.undelegated == ()
    assert len(inspection.artifacts) == 2


def test_the_command_prints_tables_and_writes_json(tiny, save, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", str(tiny.path), "--data", str(save(2)), "--json", str(tmp_path / "out.json"), "-v"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    for text in ("tiny_int8.tflite", "Conv+Relu6", "every TFLite operator is delegated", "lowest SQNR", "onnx, dB"):
        assert text in out
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["schema"] == "edgefer.inspection/1"
    assert document["undelegated"] == []
