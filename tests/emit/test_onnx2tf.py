from __future__ import annotations

import os
import stat
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgefer.emit import onnx2tf
from edgefer.emit.onnx2tf import emit_with_onnx2tf
from edgefer.errors import EdgeferError, InputError, UsageError
from edgefer.host import environments
from edgefer.host.environments import ONNX2TF, Environment, find_python, run_logged

SIDE = 16
USERS_HOME = os.environ.get("EDGEFER_HOME")


def pixel_network() -> bytes:
    """Pixels to two heads, through operators that edgefer's own emitter does not know (Elu, Softplus)."""
    rng = np.random.default_rng(0)
    weights = {
        "scale": np.full((1, 3, 1, 1), 1 / 127.5, np.float32),
        "shift": np.full((1, 3, 1, 1), -1, np.float32),
        "w": rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(0, 0.1, 8).astype(np.float32),
        "expression_w": rng.normal(0, 1, (8, 5)).astype(np.float32),
        "arousal_w": rng.normal(0, 1, (8, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["nchw", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normal"]),
        helper.make_node("Conv", ["normal", "w", "b"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Elu", ["conv"], ["elu"]),
        helper.make_node("Softplus", ["elu"], ["soft"]),
        helper.make_node("GlobalAveragePool", ["soft"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "expression_w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["expression"], axis=-1),
        helper.make_node("MatMul", ["features", "arousal_w"], ["linear"]),
        helper.make_node("Tanh", ["linear"], ["arousal"]),
    ]
    graph = helper.make_graph(
        [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes],
        "pixels",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("expression", TensorProto.FLOAT, [1, 5]),
            helper.make_tensor_value_info("arousal", TensorProto.FLOAT, [1, 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def images(count: int) -> np.ndarray:
    """Smooth random pictures, whose channel means differ enough to move the heads."""
    rng = np.random.default_rng(1)
    base = rng.integers(0, 256, (count, 1, 1, 3))
    return np.clip(base + rng.integers(-40, 40, (count, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def pretend(script: str) -> None:
    """Put an onnx2tf environment in place whose Python is a shell script."""
    ONNX2TF.interpreter.parent.mkdir(parents=True)
    ONNX2TF.interpreter.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}\n", "utf-8")
    ONNX2TF.interpreter.chmod(ONNX2TF.interpreter.stat().st_mode | stat.S_IXUSR)
    ONNX2TF.marker.write_text(ONNX2TF.digest, "ascii")


@pytest.mark.skipif(ONNX2TF.state != "ready", reason=f"no onnx2tf environment; make it with `{ONNX2TF.remedy}`")
def test_the_tool_takes_pixels_and_returns_the_named_heads_of_a_network_we_cannot_emit(monkeypatch):
    monkeypatch.delenv("EDGEFER_HOME") if USERS_HOME is None else monkeypatch.setenv("EDGEFER_HOME", USERS_HOME)
    model = pixel_network()
    content = emit_with_onnx2tf(model, iter(images(64)), timeout_s=300)

    interpreter = Interpreter(model_content=content)
    (pixels,) = interpreter.get_input_details()
    assert (pixels["name"], pixels["dtype"], tuple(pixels["shape"])) == ("pixels", np.uint8, (1, SIDE, SIDE, 3))
    assert {(d["name"], d["dtype"]) for d in interpreter.get_output_details()} == {
        ("expression", np.float32),
        ("arousal", np.float32),
    }
    session = onnxruntime.InferenceSession(model)
    runner = interpreter.get_signature_runner()
    for image in images(96)[64:]:
        expected = dict(zip(("expression", "arousal"), session.run(None, {"pixels": image[None]}), strict=True))
        heads = runner(pixels=image[None])
        assert all(np.abs(heads[name] - expected[name]).max() < 0.05 for name in expected)
    convolution = next(
        t for t in Interpreter(model_content=content).get_tensor_details() if tuple(t["shape"]) == (8, 3, 3, 3)
    )
    assert convolution["dtype"] == np.int8
    assert len(convolution["quantization_parameters"]["scales"]) == 8


def test_a_missing_environment_names_the_command_that_makes_it(home):
    with pytest.raises(UsageError, match="onnx2tf runs in is missing") as caught:
        emit_with_onnx2tf(pixel_network(), iter(images(1)))
    assert "edgefer doctor --install onnx2tf" in caught.value.remedy


def test_an_environment_with_other_requirements_is_not_used(home):
    pretend("exit 0")
    ONNX2TF.marker.write_text("of an older edgefer", "ascii")
    with pytest.raises(UsageError, match="outdated"):
        emit_with_onnx2tf(pixel_network(), iter(images(1)))


def test_the_tool_gets_a_copy_of_the_model_and_the_raw_pixels(home):
    pretend('cat "$3" "$4" > "$5"')  # -I WORKER MODEL PIXELS TARGET
    model, pictures = pixel_network(), images(3)
    assert emit_with_onnx2tf(model, iter(pictures)) == model + pictures.tobytes()
    assert not list(home.glob("edgefer-*"))


def test_a_failure_shows_the_last_words_of_the_tool_and_keeps_its_log(home):
    pretend("""
        echo chatter
        printf '\\033[31mERROR:\\033[0m no such operator: Erf\\n\\n' >&2
        exit 1""")
    with pytest.raises(InputError, match="onnx2tf: failed with exit code 1") as caught:
        emit_with_onnx2tf(pixel_network(), iter(images(1)))
    assert "| ERROR: no such operator: Erf\n" in caught.value.remedy
    (log,) = home.glob("edgefer-*.log")
    assert str(log) in caught.value.remedy
    assert "chatter" in log.read_text("utf-8")


def test_a_cause_that_the_worker_found_is_told_and_the_log_is_the_detail(home):
    pretend("echo pages of MLIR; printf 'TFLite has no operator Asinh' > cause.txt; exit 1")
    with pytest.raises(InputError, match="onnx2tf cannot do it: TFLite has no operator Asinh") as caught:
        emit_with_onnx2tf(pixel_network(), iter(images(1)))
    assert "MLIR" not in str(caught.value)
    assert "| pages of MLIR" in caught.value.detail


def test_a_tool_that_hangs_is_stopped_with_all_its_children(home):
    pretend(f"sleep 60 & echo $! > {home}/child; wait")
    start = time.monotonic()
    with pytest.raises(InputError, match=r"longer than 0\.5 s"):
        emit_with_onnx2tf(pixel_network(), iter(images(1)), timeout_s=0.5)
    assert time.monotonic() - start < 10
    assert not alive(int((home / "child").read_text("ascii")))


def test_ctrl_c_stops_the_tool_with_all_its_children_and_leaves_nothing(home):
    pretend(f"sleep 60 & echo $! > {home}/child; kill -INT {os.getpid()}; wait")
    with pytest.raises(KeyboardInterrupt):
        emit_with_onnx2tf(pixel_network(), iter(images(1)), timeout_s=30)
    assert not alive(int((home / "child").read_text("ascii")))
    assert not list(home.glob("edgefer-*"))


def test_no_calibration_images_is_an_error_before_the_tool_starts(home):
    pretend(f"touch {home}/started")
    with pytest.raises(InputError, match="no"):
        emit_with_onnx2tf(pixel_network(), iter(()))
    assert not (home / "started").exists()


def test_an_image_of_another_size_is_refused(home):
    pretend("exit 0")
    with pytest.raises(ValueError, match=r"\(8, 8, 3\)"):
        emit_with_onnx2tf(pixel_network(), iter([np.zeros((8, 8, 3), np.uint8)]))


def test_the_worker_needs_nothing_of_edgefer():
    assert "edgefer." not in onnx2tf.WORKER.read_text("utf-8")


@pytest.fixture
def tiny(home) -> Environment:
    """An environment with one package, made here, that reports its own name."""
    wheel = home / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "NAME = 'tiny'")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    requirements = home / "requirements.txt"
    requirements.write_text(f"{wheel}\n", "utf-8")
    series = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Environment("tiny", series, requirements, "import tiny", 1)


def test_an_environment_is_made_checked_and_made_again_when_its_requirements_change(tiny, tmp_path):
    tiny.install()
    assert tiny.state == "ready"
    tiny.run(["-c", "import pathlib, tiny; pathlib.Path('said').write_text(tiny.NAME)"], cwd=tmp_path, timeout_s=60)
    assert (tmp_path / "said").read_text("utf-8") == "tiny"

    with tiny.requirements.open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert tiny.state == "outdated"


@pytest.mark.parametrize(("step", "pattern"), [("making", "venv"), ("installing", "pip"), ("checking", "import tiny")])
def test_a_failed_install_is_not_taken_for_a_complete_one(tiny, home, monkeypatch, step, pattern):
    python = home / "python"
    python.write_text(
        f"""#!/bin/sh
case "$*" in
  *"{pattern}"*) echo broken $1 $2; exit 1 ;;
  *venv*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
esac
""",
        "utf-8",
    )
    python.chmod(0o755)
    monkeypatch.setattr(environments, "find_python", lambda series: str(python))
    with pytest.raises(EdgeferError, match=f"{step}.*failed with exit code 1") as caught:
        tiny.install()
    assert "| broken -" in caught.value.remedy
    assert tiny.state == "missing"


def test_a_disk_too_small_is_said_before_anything_is_installed(tiny):
    with pytest.raises(EdgeferError, match=r"tiny needs 1000000\.00 GB") as caught:
        replace(tiny, disk_bytes=10**15).install()
    assert "EDGEFER_HOME" in caught.value.remedy
    assert not tiny.path.exists()


def test_a_python_of_another_series_is_found_on_the_path(tmp_path, monkeypatch):
    fake = tmp_path / "python3.99"
    fake.write_text("#!/bin/sh\necho 3.99\n", "utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python("3.99") == str(fake)


def test_no_python_of_the_series_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"no Python 3\.99 found") as caught:
        find_python("3.99")
    assert "python3.99" in caught.value.remedy


def test_a_command_that_does_not_exist_is_an_error(home):
    with pytest.raises(EdgeferError, match="cannot be started"):
        run_logged([home / "nothing"], "tool", cwd=home, environ={}, timeout_s=1)


def test_the_requirements_are_pinned_and_bring_no_cuda():
    lines = [line for line in ONNX2TF.requirements.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert not [line for line in lines if "nvidia" in line or "cuda" in line]
    assert environments.ENVIRONMENTS["onnx2tf"] is ONNX2TF


def alive(pid: int) -> bool:
    """Whether a process still runs after a moment; one that is dead but not yet reaped does not."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True
