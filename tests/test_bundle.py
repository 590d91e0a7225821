import errno
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from edgefer import bundle as module
from edgefer.bundle import Artifact, Bundle, check_destination, write_bundle
from edgefer.errors import InputError, UsageError
from edgefer.plan import Plan, QuantParams
from edgefer.spec import Spec

SPEC = {
    "input": {"size": [8, 8], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "outputs": [{"name": "mood", "kind": "expression", "labels": ["sad", "happy"]}],
}
PLAN = Plan({"x": QuantParams("int8", (0.5,), (3,))}, {"n": "int8"})
MODELS = {"tiny_int8.tflite": b"first", "tiny_int8.onnx": b"the second, longer", "tiny_fp32.onnx": b"reference" * 9}


def manifest(models=MODELS, budget=10):
    artifacts = [
        {
            "file": file,
            "format": file.split(".")[1],
            "precision": "float32" if "fp32" in file else "int8",
            "bytes": len(data),
            "sha256": sha256(data).hexdigest(),
            "ops": {"int8": 1, "float": 2},
            "macs": 3,
        }
        for file, data in models.items()
    ]
    return {"schema": module.SCHEMA, "name": "tiny", **SPEC, "artifacts": artifacts, "budget_bytes": budget}


def write(path, models=MODELS):
    return write_bundle(
        path, manifest(models), {**models, "plan.json": PLAN.to_json().encode(), "labels.txt": b"sad\n"}
    )


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture
def bundle(tmp_path):
    return write(tmp_path / "out")


def test_a_bundle_reads_back_as_it_was_written(bundle):
    again = Bundle.open(bundle.path)
    assert again.manifest == manifest()
    assert again.name == "tiny"
    assert again.spec == Spec.from_dict(SPEC)
    assert again.plan == PLAN
    assert [artifact.bytes for artifact in again.artifacts] == [5, 18, 81]
    assert again.artifact("onnx").name == "tiny_int8.onnx"
    assert again.artifact("onnx", "float32").name == "tiny_fp32.onnx"
    assert isinstance(again.over_budget[0], Artifact)
    assert [artifact.file for artifact in again.over_budget] == ["tiny_int8.onnx"]


def test_nothing_but_the_bundle_is_left_and_others_may_read_it(bundle):
    assert [path.name for path in bundle.path.parent.iterdir()] == ["out"]
    umask = os.umask(0)
    os.umask(umask)
    assert bundle.path.stat().st_mode & 0o777 == 0o777 & ~umask


def test_sha256sums_is_what_the_usual_tool_reads(bundle):
    lines = (bundle.path / "SHA256SUMS").read_text().splitlines()
    names = sorted({*MODELS, "plan.json", "labels.txt", "manifest.json"})
    assert lines == [f"{sha256((bundle.path / name).read_bytes()).hexdigest()}  {name}" for name in names]


def test_an_older_bundle_is_replaced_as_a_whole(bundle):
    again = write(bundle.path, {"tiny_int8.onnx": b"new"})
    assert set(contents(again.path)) == {"tiny_int8.onnx", "plan.json", "labels.txt", "manifest.json", "SHA256SUMS"}
    again.verify()
    assert [path.name for path in bundle.path.parent.iterdir()] == ["out"]


FILES = len(MODELS) + 4
INTERRUPTIONS = [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]


def interrupt_at(monkeypatch, count, error):
    """Fail at the `count`-th file, half of it written, or (past the last) at the `count`-th rename."""
    calls = []
    write_bytes, rename = Path.write_bytes, Path.rename

    def half_written(path, data):
        calls.append(path)
        if len(calls) == count:
            write_bytes(path, data[: len(data) // 2])
            raise error
        return write_bytes(path, data)

    def renamed(path, target):
        calls.append(path)
        if len(calls) == count:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "write_bytes", half_written)
    monkeypatch.setattr(Path, "rename", renamed)


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("count", range(1, FILES + 1))
def test_an_interruption_leaves_nothing_half_written(tmp_path, monkeypatch, error, count):
    interrupt_at(monkeypatch, count, error)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError) as raised:
        write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    if isinstance(raised.value, InputError):
        assert "out: the bundle cannot be written: No space left on device" in raised.value.message


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("count", range(1, FILES + 2))
def test_an_interruption_leaves_the_older_bundle_whole(bundle, monkeypatch, error, count):
    before = contents(bundle.path)
    interrupt_at(monkeypatch, count, error)
    with pytest.raises((KeyboardInterrupt, InputError)):
        write(bundle.path, {**MODELS, "tiny_int8.onnx": b"new"})
    monkeypatch.undo()
    assert contents(bundle.path) == before
    assert [path.name for path in bundle.path.parent.iterdir()] == ["out"]
    Bundle.open(bundle.path)


@pytest.mark.parametrize("make", ["file", "folder", "link"])
def test_what_is_no_bundle_is_left_alone(tmp_path, make):
    path = tmp_path / "out"
    if make == "file":
        path.write_text("mine")
    elif make == "folder":
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="out: exists and is not a") as raised:
        write(path)
    assert "-o" in raised.value.remedy
    assert [p.name for p in tmp_path.rglob("*")] == (["out", "thesis.tex"] if make == "folder" else ["out"])


@pytest.mark.parametrize("stranger", ["evaluation.html", ".git"])
def test_what_lies_beside_a_bundle_is_not_lost(bundle, stranger):
    (bundle.path / stranger).mkdir()
    with pytest.raises(UsageError, match=f"out: holds '{stranger}' beside the bundle") as raised:
        write(bundle.path, {"tiny_int8.onnx": b"new"})
    assert "Move it elsewhere" in raised.value.remedy
    assert (bundle.path / stranger).is_dir()
    bundle.verify()


def test_litter_of_file_managers_is_no_stranger(bundle):
    (bundle.path / ".DS_Store").write_text("litter")
    assert set(contents(write(bundle.path).path)) == set(contents(bundle.path))
    assert not (bundle.path / ".DS_Store").exists()


@pytest.mark.parametrize("path", [".", "../inside", ".."])
def test_where_the_user_is_is_not_replaced(tmp_path, monkeypatch, path):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with pytest.raises(UsageError):
        write(Path(path))
    assert Path.cwd() == tmp_path / "inside"


def test_a_manifest_alone_makes_no_bundle_of_a_folder(bundle):
    (bundle.path / "SHA256SUMS").unlink()
    with pytest.raises(UsageError, match="is not a bundle"):
        check_destination(bundle.path)


def test_a_link_to_a_bundle_stays_a_link(bundle, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(bundle.path)
    write(link, {"tiny_int8.onnx": b"new"})
    assert link.is_symlink()
    assert (bundle.path / "tiny_int8.onnx").read_bytes() == b"new"


def test_an_empty_folder_and_a_new_one_deep_below_are_fine(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        check_destination(path)
        assert write(path).path == path


def test_a_place_below_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"cannot be made: .*file is not a directory"):
        check_destination(tmp_path / "file" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be made"):
        check_destination(tmp_path / "out")


@pytest.mark.parametrize("name", sorted({*MODELS, "plan.json", "labels.txt", "manifest.json"}))
def test_an_altered_file_is_named(bundle, name):
    path = bundle.path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match=f"{name}: altered since it was made"):
        Bundle.open(bundle.path)
    assert Bundle.open(bundle.path, verify=False).name == "tiny"


@pytest.mark.parametrize("name", sorted({*MODELS, "plan.json", "labels.txt"}))
def test_a_missing_file_is_named(bundle, name):
    (bundle.path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: missing from the bundle"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS"])
def test_a_folder_without_manifest_or_sums_is_no_bundle(bundle, name):
    (bundle.path / name).unlink()
    with pytest.raises(InputError, match=name):
        Bundle.open(bundle.path)


def test_a_checkpoint_in_place_of_a_bundle_is_told_what_to_do(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="not a bundle, which is a directory") as told:
        Bundle.open(tmp_path / "net.pt")
    assert "edgefer convert" in str(told.value.remedy)


@pytest.mark.parametrize("name", sorted({*MODELS, "plan.json", "manifest.json"}))
def test_a_file_that_is_relied_on_but_not_listed_is_named(bundle, name):
    sums = bundle.path / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if not line.endswith(f"  {name}\n")))
    with pytest.raises(InputError, match=f"SHA256SUMS: does not list {name}"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["../secret", "..", ".", "", "sub/file", "{tmp}/secret"])
def test_sums_that_lead_out_of_the_bundle_are_not_followed(bundle, name):
    secret = bundle.path.parent / "secret"
    secret.write_bytes(b"secret")
    (bundle.path / "sub").mkdir()
    (bundle.path / "sub" / "file").write_bytes(b"secret")
    with (bundle.path / "SHA256SUMS").open("a") as file:
        file.write(f"{sha256(b'secret').hexdigest()}  {name.format(tmp=bundle.path.parent)}\n")
    with pytest.raises(InputError, match="missing from the bundle"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": "edgefer.bundle/2"}', "\xff", "3"])
def test_another_manifest_is_no_bundle(bundle, text):
    (bundle.path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest\.json"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    "artifacts",
    [
        *(None, 3, [3], [{"file": "a"}]),
        *([{**manifest()["artifacts"][0], key: "x"}] for key in ("more", "bytes", "macs", "ops")),
        *([{**manifest()["artifacts"][0], key: -1}] for key in ("bytes", "file")),
    ],
)
def test_a_manifest_with_unreadable_artifacts_is_an_input_error(bundle, artifacts):
    (bundle.path / "manifest.json").write_text(json.dumps({**manifest(), "artifacts": artifacts}))
    with pytest.raises(InputError, match="its artifacts are not readable"):
        Bundle.open(bundle.path)


def test_a_format_that_the_bundle_lacks_is_an_error_that_names_what_it_has(tmp_path):
    onnx_only = write(tmp_path / "out", {"tiny_int8.onnx": b"new"})
    with pytest.raises(InputError, match=r"holds no int8 tflite artifact \(it has onnx\)"):
        onnx_only.artifact("tflite")
