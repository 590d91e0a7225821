import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import pytest

from edgefer.bundle import Bundle
from edgefer.cli.main import main
from tests.checkpoint.torch_files import save
from tests.conversion.files import spec_text, write_faces, write_network

INTERRUPTED = """
import os, signal, sys
from contextlib import contextmanager
from edgefer.cli import main, output

stage = output.ConsoleProgress.stage

@contextmanager
def interrupted(self, name, total=None):
    with stage(self, name, total) as advance:
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
        yield advance

output.ConsoleProgress.stage = interrupted
main.main(sys.argv[2:])
"""
FULL = """
import sys
from importlib.util import find_spec
from pathlib import Path
from edgefer.cli.main import main

write_bytes = Path.write_bytes

def full(path, data):
    if (Path.cwd() in path.absolute().parents) != {here}:
        return write_bytes(path, data)
    with path.open("wb") as file:
        file.write(data[:100])
    raise OSError(28, "No space left on device")

Path.write_bytes = full
main(sys.argv[1:])
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working directory with tiny.onnx, its Spec and faces/."""
    folder = tmp_path / "work"
    folder.mkdir()
    write_network(folder / "tiny.onnx")
    write_faces(folder / "faces")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(files, capfd):
    """Runs `edgefer convert`; returns its exit code, standard output and standard error."""

    def convert(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["convert", *map(str, arguments)])
        return end.value.code, *capfd.readouterr()

    return convert


def process(*arguments, code="from edgefer.cli.main import main; main()", **options):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


def left(folder):
    return sorted(path.name for path in folder.iterdir())


BEFORE = ["faces", "tiny.onnx", "tiny.spec.toml"]
TINY = ("tiny.onnx", "--calibration", "faces")


def test_a_line_per_stage_then_a_table(run, files):
    code, out, err = run(*TINY)
    assert code == 0
    lines = [line.rsplit(maxsplit=2) for line in err.splitlines()]
    stages = [line[0].strip() for line in lines]
    assert all(unit == "s" and float(seconds) >= 0 for _, seconds, unit in lines)
    assert stages[:2] == ["read", "normalise"]
    assert stages[-4:] == ["emit tflite", "emit onnx", "compare", "write"]
    assert "calibrate" in stages
    header, *rows = [line for line in out.splitlines() if line][:4]
    for column in ("bytes", "of 8.00 MB", "int8/float ops", "ms/frame"):
        assert column in header
    for measure in ("agreement (expression)", "correlation (affect)", "agreement (units)"):
        assert measure in header
    assert [row.split()[0] for row in rows] == ["tiny_fp32.onnx", "tiny_int8.tflite", "tiny_int8.onnx"]
    assert [row.count(" % ") for row in rows] == [0, 2, 2]
    assert "6 images of faces that were not among the 24 calibrated on" in out
    assert out.rstrip().endswith("Wrote tiny_bundle")
    assert "\x1b" not in out + err and "\r" not in out + err
    assert left(files) == sorted([*BEFORE, "tiny_bundle"])


def test_quiet_prints_nothing(run):
    assert run(*TINY, "-q") == (0, "", "")


def test_json_alone_is_on_standard_output(run):
    code, out, _ = run(*TINY, "--json", "-")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "edgefer.bundle/1"
    assert set(document["ms_per_frame_on_this_host"]) == {artifact["file"] for artifact in document["artifacts"]}


def test_json_goes_to_a_file_beside_the_table(run, files):
    code, out, _ = run(*TINY, "--json", "result.json")
    assert code == 0
    assert "Wrote tiny_bundle" in out
    assert json.loads((files / "result.json").read_text())["name"] == "tiny"


def test_a_json_file_that_cannot_be_is_refused_before_any_work(run, files):
    for place in ("nowhere/result.json", "faces"):
        code, _, err = run(*TINY, "--json", place)
        assert code == 2
        assert f"{place!r} cannot be made" in err
    assert left(files) == BEFORE


def test_verbose_says_more(run):
    _, _, err = run(*TINY, "-v")
    assert "onnx_file: " in err
    assert "1 SiLU" in err


def test_over_budget_says_by_how_much_and_writes_the_bundle(run, files):
    code, out, err = run(*TINY, "--budget", "1kB")
    assert code == 1
    for artifact in Bundle.open(files / "tiny_bundle").over_budget:
        size = artifact.bytes
        assert f"over budget: {artifact.file} has {size:,} bytes, {size - 1000:,} more than the budget of 1,000" in err
    assert "tiny_int8.tflite has" in err
    assert "larger --budget would help" in err
    assert "Wrote tiny_bundle" in out


TELLS_TO_SHRINK = r"--shrink, which removes the channels that matter least, 6\d% of what there is, and "


@pytest.mark.parametrize(
    ("budget", "options", "told"),
    [
        (
            "3kB",
            [],
            rf"add --shrink, or give a --budget(.|\n)*{TELLS_TO_SHRINK}takes about 1 minute more here, a smaller",
        ),
        ("300B", [], r"--shrink does not come so far: 9\d\.\d% would have to go\.  A smaller variant or"),
        ("2kB", ["--precision", "w8"], r"\n  A smaller variant or"),
        ("300B", ["--shrink"], r"\n  A smaller variant or"),
    ],
)
def test_shrinking_is_named_where_it_would_help(run, monkeypatch, budget, options, told):
    monkeypatch.setattr("edgefer.cli.convert.find_spec", lambda name: "is there")
    monkeypatch.setattr("edgefer.shrink.shrink.find_spec", lambda name: None)
    code, _, err = run(*TINY, *options, "--budget", budget)
    assert code == 1
    assert re.search(told, err), err
    assert ("add --shrink" in err) == (budget == "3kB")


def test_without_torch_shrinking_is_said_to_need_it(run, monkeypatch):
    monkeypatch.setattr("edgefer.cli.convert.find_spec", lambda name: None)
    _, _, err = run(*TINY, "--budget", "3kB")
    assert re.search(rf"{TELLS_TO_SHRINK}needs the extra `torch` to learn the rest again", err), err


@pytest.mark.parametrize("options", [[], ["--shrink"]])
def test_an_interrupted_shrinking_says_that_it_goes_on(run, monkeypatch, options):
    def interrupted(*_, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgefer.cli.convert.run_convert", interrupted)
    code, _, err = run(*TINY, *options)
    assert code == 5
    assert ("kept: the same command goes on from there" in err) == bool(options)


def test_a_drop_that_cannot_be_kept_ends_with_1_and_says_by_how_much(run, files, monkeypatch):
    monkeypatch.setattr("edgefer.quantize.observe.sensitivity.expected_drop", lambda *_: 2.0)
    code, out, err = run(*TINY, "--max-drop", "0.5")
    assert code == 1
    assert "over the drop: 2.00 percentage points of accuracy are to be expected, 1.50 more than --max-drop 0.5" in err
    assert Bundle.open(files / "tiny_bundle").manifest["solution"]["drop_over"] == 1.5
    assert "Wrote tiny_bundle" in out


def test_a_drop_that_full_int8_keeps_leaves_int8_what_float_would_not_make_faster(run, files):
    code, _, err = run(*TINY, "--max-drop", "100")
    manifest = Bundle.open(files / "tiny_bundle").manifest
    (chosen,) = (point for point in manifest["solution"]["points"] if point["chosen"])
    assert (code, err.count("over")) == (0, 0)
    assert chosen["latency"] <= 1
    assert manifest["max_drop"] == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-drop", "-1"), "-1.0 is not in the range"),
        (("--max-drop", "nan"), "a drop is between 0 and 100"),
        (("--mixed", "--tflite-backend", "onnx2tf"), "onnx2tf quantizes everything"),
        (("--budget", "0"), "'0' is not a size"),
        (("--budget", "-5MB"), "'-5MB' is not a size"),
        (("--formats", "foo"), "'foo': choose from tflite, onnx"),
        (("--formats", ""), "choose from tflite, onnx"),
        (("--samples", "0"), "0 is not in the range"),
        (("--family", "foo"), "--family foo: no such family"),
        (("--family", "foo.py"), "--family foo.py: no such file"),
        (("-o", "faces"), "faces: exists and is not a bundle"),
        (("-o", "tiny.onnx"), "tiny.onnx: exists and is not a directory"),
        (("-o", "tiny.onnx/out"), "tiny.onnx is not a directory that you can write to"),
        (("-o", ""), ".: exists and is not a bundle"),
        (("--calibration", ""), "the name of a file is empty"),
    ],
)
def test_wrong_usage(options, message, run, files):
    code, out, err = run(*TINY, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert left(files) == BEFORE


def test_a_network_without_images_of_its_own_asks_for_some(run):
    code, _, err = run("tiny.onnx")
    assert code == 2
    assert "no calibration images for 'tiny'" in err
    assert "--calibration synthetic" in err


def command(name):
    """A pickle whose reading would make a file."""
    return b"cos\nsystem\n(S'touch " + name.encode() + b"'\ntR."


BAD_MODELS = {
    "truncated.onnx": (lambda path: path.write_bytes(Path("tiny.onnx").read_bytes()[:500]), "not a readable ONNX file"),
    "text.pt": (lambda path: path.write_text("hello"), r"text.pt: not a checkpoint"),
    "empty.pt": (lambda path: path.write_bytes(b""), "empty.pt: is empty"),
    "empty.onnx": (lambda path: path.write_bytes(b""), "empty.onnx: not an ONNX network"),
    "hostile.pt": (lambda path: save(path, {}, data_pkl=command("executed")), "hostile.pt: "),
    "hostile.pth": (lambda path: path.write_bytes(b"\x80\x02" + command("executed")), "hostile.pth: "),
    "folder.onnx": (lambda path: path.mkdir(), "folder.onnx: "),
    "\x1b[31mred\nname.pt": (lambda path: path.write_text("hello"), r"\x1b[31mred\nname.pt: not a checkpoint"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(name, run, files):
    make, message = BAD_MODELS[name]
    make(files / name)
    (files / name).with_name(f"{Path(name).stem}.spec.toml").write_text(spec_text())
    before = left(files)
    code, out, err = run(name, "--calibration", "faces")
    assert (code, out) == (3, "")
    assert message in err
    assert "Traceback" not in err and "\x1b" not in err
    assert left(files) == before  # no bundle, and nothing that a pickle made


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_text().replace("mean", "means"), "unknown key 'means'"),
        (spec_text().replace("[16, 16]", "[32, 32]"), "the Spec makes it [1, 3, 32, 32]"),
        (spec_text().replace('"softmax"', '"argmax"'), "choose one of"),
        (spec_text().replace('"angry"', '"an\\u001bgry"'), "must be printable"),
        (spec_text().replace("columns = [6, 9]", "columns = [7, 10]"), "'units' has 3 labels"),
        ("[input", "tiny.spec.toml: not a TOML file"),
        ("", "nothing says what the network's input and outputs mean"),
    ],
)
def test_bad_specs(spec, message, run, files):
    (files / "tiny.spec.toml").write_text(spec)
    code, out, err = run(*TINY)
    assert (code, out) == (3, "")
    assert message in err
    assert left(files) == BEFORE


def test_bad_calibration_sets(run, files):
    (files / "empty").mkdir()
    (files / "broken").mkdir()
    (files / "broken" / "a.jpg").write_bytes(b"no image")
    before = left(files)
    for place, message in (
        ("nowhere", "nowhere: no such file or folder"),
        ("empty", "empty: holds no images"),
        ("broken", "none of 1 images can be read; a.jpg: "),
        ("faces/000.png", "is one image, not an image set"),
        ("tiny.onnx", "tiny.onnx: not an image set"),
    ):
        code, out, err = run("tiny.onnx", "--calibration", place)
        assert (code, out) == (3, "")
        assert message in err
    assert left(files) == before


def test_skipped_images_cannot_write_on_the_terminal(run, files):
    (files / "faces" / "\x1b[2J\n.jpg").write_bytes(b"no image")
    code, _, err = run(*TINY)
    assert code == 0
    assert r"note: skipped \x1b[2J\n.jpg: " in err
    assert "\x1b" not in err


def test_an_operator_that_is_not_supported_is_named_with_the_remedy(run, files):
    model = onnx.load("tiny.onnx")
    next(node for node in model.graph.node if node.name == "relu").op_type = "GlobalLpPool"
    onnx.save(model, "tiny.onnx")
    code, _, err = run(*TINY)
    assert code == 3
    assert "node 'relu': operator GlobalLpPool is not supported" in err
    assert "--tflite-backend onnx2tf" in err
    assert left(files) == BEFORE


def test_an_output_link_is_not_followed_to_what_is_no_bundle(run, files):
    (files / "dangling").symlink_to("nowhere")
    (files / "link").symlink_to("faces")
    for link in ("dangling", "link"):
        code, _, err = run(*TINY, "-o", link)
        assert code == 2
        assert f"{link}: exists and is not a" in err
    assert (files / "dangling").is_symlink()
    assert len(left(files / "faces")) == 30


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_refused_before_any_work(run, files):
    (files / "locked").mkdir(mode=0o500)
    code, _, err = run(*TINY, "-o", "locked/out")
    assert code == 2
    assert "locked is not a directory that you can write to" in err


def test_a_full_disk_leaves_the_older_bundle(run, files):
    run(*TINY)
    older = (files / "tiny_bundle" / "SHA256SUMS").read_text()
    result = process("convert", *TINY, "--samples", "5", code=FULL.format(here=True))
    assert result.returncode == 3
    assert "tiny_bundle: the bundle cannot be written: No space left on device" in result.stderr
    assert "Free some space" in result.stderr
    assert left(files) == sorted([*BEFORE, "tiny_bundle"])
    assert (files / "tiny_bundle" / "SHA256SUMS").read_text() == older
    Bundle.open(files / "tiny_bundle")


def test_a_full_temporary_directory_is_named(files):
    result = process("convert", *TINY, "--samples", "5", code=FULL.format(here=False))
    assert result.returncode == 3
    assert f"temporary files are in {tempfile.gettempdir()}: No space left on device" in result.stderr
    assert "TMPDIR" in result.stderr
    assert left(files) == BEFORE


def test_a_full_standard_output_is_an_error_after_the_bundle_is_written(files):
    if not Path("/dev/full").is_char_device():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "edgefer", "convert", *TINY],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
    assert result.returncode == 3
    assert "No space left on device" in result.stderr
    Bundle.open(files / "tiny_bundle")


def test_a_full_device_for_json_stays_a_device(run, files):
    if not Path("/dev/full").is_char_device():
        pytest.skip("needs /dev/full")
    link = files / "full.json"  # should it be replaced, then the link, not the device
    link.symlink_to("/dev/full")
    code, _, err = run(*TINY, "--json", "full.json", "-q")
    assert code == 3
    assert "full.json: cannot be written: No space left on device" in err
    assert link.is_symlink()


def test_a_reader_that_goes_early_does_not_stop_the_work(files):
    shell = f"{sys.executable} -m edgefer convert tiny.onnx --calibration faces 2>&1 | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert result.stdout.splitlines()[1:] == ["0"]
    assert result.stderr == ""
    Bundle.open(files / "tiny_bundle")


STAGES = ("read", "normalise", "open images", "calibrate", "correct layers", "emit tflite", "compare", "write")


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_leaves_nothing_but_the_older_bundle(stage, files):
    older = files / "tiny_bundle"
    older.mkdir()
    (older / "manifest.json").write_text('{"schema": "edgefer.bundle/1"}')
    (older / "SHA256SUMS").write_text("0  manifest.json\n")
    result = process(stage, "convert", *TINY, code=INTERRUPTED)
    assert result.returncode == 5
    assert result.stdout == ""
    assert result.stderr.endswith("interrupted\n")
    assert "Traceback" not in result.stderr
    assert left(files) == sorted([*BEFORE, "tiny_bundle"])
    assert left(older) == ["SHA256SUMS", "manifest.json"]


def test_an_interrupt_from_the_keyboard_ends_a_real_run(files):
    arguments = [sys.executable, "-m", "edgefer", "convert", *TINY, "-o", "out"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert first.split()[0] == "read"
    if running.returncode == 0:  # the machine was faster than the signal
        Bundle.open(files / "out")
    else:
        assert (running.returncode, out) == (5, "")
        assert err.endswith("interrupted\n")


def test_help_has_examples(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "edgefer convert model.onnx --calibration faces/ -o out" in out
