import itertools
import shutil
from contextlib import contextmanager
from functools import partial
from math import inf

import onnx
import pytest

import edgefer
from edgefer.conversion.convert import convert
from edgefer.conversion.shrinking import LEARNED
from edgefer.graph.onnx_io import to_onnx
from edgefer.host.directories import cache_directory
from edgefer.host.progress import Silent
from edgefer.images import open_images
from edgefer.shrink.asked import Steps
from tests.conversion.files import write_faces
from tests.graph import networks
from tests.graph.networks import numbers

SPEC = {
    "input": {"size": [16, 12], "mean": [0.5] * 3, "std": [0.25] * 3},
    "outputs": [{"name": "mood", "kind": "expression", "activation": "softmax", "labels": ["a", "b", "c"]}],
}


@pytest.fixture
def faces(tmp_path):
    return write_faces(tmp_path / "faces")


@pytest.fixture
def wide(tmp_path, faces):
    """A network with channels to spare, and how it is converted."""
    text = """
    a = Conv<kernel_shape=[3, 3], strides=[2, 2]>(x, w)
    b = Relu(a)
    p = GlobalAveragePool(b)
    f = Flatten(p)
    h = Gemm<transB=1>(f, u)
    r = Relu(h)
    logits = Gemm<transB=1>(r, v)
    """
    constants = {"w": numbers(64, 3, 3, 3), "u": numbers(256, 64, seed=1), "v": numbers(3, 256, seed=2)}
    onnx.save(to_onnx(networks.network(text, "logits", constants, x=(1, 3, 16, 12))), tmp_path / "wide.onnx")
    return partial(convert, tmp_path / "wide.onnx", calibration=faces, spec=SPEC)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setitem(LEARNED, "fast", Steps(2, 10, 6))


def largest(bundle):
    return max(artifact.bytes for artifact in bundle.artifacts if artifact.precision == "int8")


def test_a_network_over_the_budget_shrinks(wide, faces, tmp_path):
    pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
    whole = wide(tmp_path / "whole")
    bundle = wide(tmp_path / "out", budget=int(0.9 * largest(whole)), shrink=True, unlabelled=faces)
    assert not bundle.over_budget
    found = bundle.manifest["quantization"]["shrunk"]
    assert found["parameters"] < found["parameters_before"] == whole.manifest["quantization"]["parameters"]
    assert bundle.artifact("onnx", "float32").read_bytes() == whole.artifact("onnx", "float32").read_bytes()
    assert edgefer.evaluate(bundle, faces).layers.layers


def test_it_learns_on_calibration_images_and_more_but_on_none_that_is_held_back(wide, faces, tmp_path):
    pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
    more = tmp_path / "more"
    shutil.copytree(faces, more)
    write_faces(more / "others", count=5, seed=1)
    (more / "damaged.png").write_bytes(b"no image")
    whole = wide(tmp_path / "whole")
    manifest = wide(tmp_path / "out", budget=int(0.9 * largest(whole)), shrink=True, unlabelled=more).manifest
    assert manifest["quantization"]["shrunk"]["images"] == whole.manifest["calibration"]["count"] + 5
    assert manifest["unlabelled"]["count"] == len(open_images(faces)) + 5
    assert manifest["unlabelled"]["skipped"] == 1


def test_a_network_of_which_nothing_can_go_is_converted_as_without_shrinking(faces, tmp_path):
    text = "a = Conv(x, w)\np = GlobalAveragePool(a)\nlogits = Flatten(p)"
    graph = networks.network(text, "logits", {"w": numbers(3, 3, 3, 3)}, x=(1, 3, 16, 12))
    onnx.save(to_onnx(graph), tmp_path / "one.onnx")
    ways = {
        "plain": {},
        "small": {"shrink": True, "budget": 1000},
        "quick": {"shrink": True, "max_latency": "0.5x@pi5"},
    }
    plain, small, quick = (
        convert(tmp_path / "one.onnx", tmp_path / name, calibration=faces, spec=SPEC, **asked)
        for name, asked in ways.items()
    )
    assert small.over_budget and "shrunk" not in quick.manifest["quantization"]
    assert small.artifact("onnx", "float32").read_bytes() == plain.artifact("onnx", "float32").read_bytes()


def test_of_what_is_left_no_more_is_left_out_while_the_budget_is_kept(wide, tmp_path, monkeypatch):
    budget = int(0.9 * largest(wide(tmp_path / "whole")))
    monkeypatch.setattr("edgefer.quantize.evened.QUIET", 1.0)  # or else these few images are too noisy for any
    monkeypatch.setattr("edgefer.quantize.evened.SHARE", inf)
    bundle = wide(tmp_path / "out", budget=budget, shrink=True)
    assert 0.95 * budget < largest(bundle) <= budget
    assert bundle.manifest["quantization"]["left_out"] == 0


def test_ways_to_store_what_is_left_are_measured_against_the_network_as_it_was(wide, tmp_path):
    pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
    bundle = wide(tmp_path / "out", budget=int(0.3 * largest(wide(tmp_path / "whole"))), shrink=True, mixed=True)
    last, points = bundle.manifest["rounds"][-1], bundle.manifest["solution"]["points"]
    assert last["sqnr_db"] < 32
    assert all(point["sqnr_db"] < last["sqnr_db"] + 2 for point in points)


def test_what_learns_through_the_quantized_arithmetic_goes_on_where_it_was_interrupted(wide, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setattr("edgefer.quantize.fit.learn.KEPT_EVERY", 2)
    asked = {"budget": int(0.9 * largest(wide(tmp_path / "whole"))), "shrink": True}
    expected = wide(tmp_path / "expected", **asked)

    class Interrupting(Silent):
        @contextmanager
        def stage(self, name, total=None):
            count = itertools.count(1)

            def advance():
                if name == "learn weights" and next(count) == 5:
                    raise KeyboardInterrupt

            yield advance

    with pytest.raises(KeyboardInterrupt):
        wide(tmp_path / "out", **asked, progress=Interrupting())
    assert list(cache_directory().glob("shrink/*/stored-*.npz"))
    found = wide(tmp_path / "out", **asked)
    for file in sorted(path.name for path in expected.path.iterdir() if path.suffix in (".tflite", ".onnx")):
        assert (found.path / file).read_bytes() == (expected.path / file).read_bytes(), file
    assert not list(cache_directory().glob("shrink/*")), "what is done needs no journal"
