"""The integration samples, run where they can be, on the package that an app developer would unpack."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefer.faces.crop import cut_out
from edgefer.faces.face import Face
from edgefer.images.decode import decode
from edgefer.images.preprocess import to_pixels
from edgefer.packaging.on_video import read_policy_for, video_json
from edgefer.packaging.traces import traces_json
from edgefer.runtime.runners import open_runner
from tests.host.without_vnni import hidden
from tests.packaging.golden_table import expected_values
from tests.packaging.policies import write_policy

STAND_INS = Path(__file__).with_name("stand_ins")
CASES = ("angry", "happy", "neutral", "pattern", "sad", "surprise")
TRACES = ("crops", "steady", "out of sight", "irregular")
ORG_JSON = Path("/usr/share/java/json-android.jar")


def run(*command, **options):
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def python_sample(unpacked):
    pytest.importorskip("PIL")
    return sys.executable, unpacked / "samples" / "python" / "expression.py"


@pytest.fixture(scope="module")
def cpp_sample(unpacked, tmp_path_factory):
    """The program, built against the library in onnxruntime's wheel."""
    return compiled(unpacked, tmp_path_factory.mktemp("cpp"))


def compiled(package, folder):
    """The C++ sample of a package, built in a folder; skips where there is no compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    wheel = Path(importlib.util.find_spec("onnxruntime").origin).parent / "capi"
    (folder / "libonnxruntime.so.1").symlink_to(next(wheel.glob("libonnxruntime.so.*")))
    source = package / "samples" / "cpp" / "expression.cpp"
    options = ("-std=c++17", "-Wall", "-Wextra", "-Werror", f"-Wl,-rpath,{folder}", f"-I{STAND_INS}")
    built = run(compiler, *options, source, folder / "libonnxruntime.so.1", "-o", folder / "expression")
    assert built.returncode == 0, built.stderr
    return folder / "expression"


@pytest.fixture(scope="module")
def kotlin_compiler():
    """The command of Kotlin's compiler, and the jar of its standard library."""
    found = importlib.util.find_spec("run_kotlin_kernel")
    if found is None or shutil.which("javac") is None or not ORG_JSON.is_file():
        pytest.skip(
            "needs javac, Kotlin's compiler (pip install kotlin-jupyter-kernel, 80 MB) and Android's org.json "
            "(apt install libandroid-json-org-java)"
        )
    jars = sorted((Path(found.origin).parent / "jars").glob("*.jar"))
    library = next(jar for jar in jars if jar.name.startswith("kotlin-stdlib"))
    compiler = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    return ["java", "-cp", ":".join(map(str, jars)), compiler, "-no-stdlib", "-no-reflect"], library


def test_python_passes_the_golden_tests_in_both_runtimes(python_sample):
    done = run(*python_sample, "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == 2 * len(CASES) + len(TRACES)


def test_python_notices_a_wrong_expectation(unpacked, python_sample, tmp_path):
    shutil.copytree(unpacked, tmp_path / "app")
    table = tmp_path / "app" / "golden" / "expected.tsv"
    table.write_text(table.read_text().replace("happy\tonnx\t0.02\t0.", "happy\tonnx\t0.02\t0.9"))
    done = run(sys.executable, tmp_path / "app" / "samples" / "python" / "expression.py", "--golden")
    assert done.returncode == 1
    assert done.stdout.count("FAILED") == 1


def test_python_reads_a_face(unpacked, python_sample):
    done = run(*python_sample, unpacked / "golden" / "happy.png")
    found = [float(value) for _, value in map(str.split, done.stdout.splitlines())]
    assert found == pytest.approx(expected_values(unpacked, "happy", "tflite"), abs=0.03)


def test_cpp_passes_the_golden_tests(cpp_sample, unpacked):
    done = run(cpp_sample, unpacked, "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == len(CASES) + len(TRACES)


@pytest.mark.parametrize("case", ["pattern", "surprise"])
def test_cpp_resizes_as_the_contract_says(cpp_sample, unpacked, tmp_path, case):
    expected = expected_values(unpacked, case, "onnx")
    image = decode((unpacked / "golden" / f"{case}.png").read_bytes())
    (tmp_path / "face.ppm").write_bytes(b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes())
    done = run(cpp_sample, unpacked, tmp_path / "face.ppm")
    values = [line.split("\t")[1] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(np.array(values, float), expected, atol=0.02)


def test_golden_tests_pass_without_vnni_and_say_so_where_exact_sums_were_not_asked_for(
    unpacked, python_sample, cpp_sample, tmp_path
):
    environment = hidden(tmp_path, "avx512_vnni", "avx_vnni")
    assert run(cpp_sample, unpacked, "--golden", env=environment).returncode == 0
    shutil.copytree(unpacked, tmp_path / "app")
    sample = tmp_path / "app" / "samples" / "python" / "expression.py"
    text = sample.read_text()
    sample.write_text(
        text.replace("if _saturates() if exact is None else exact:", "if True if exact is None else exact:")
    )
    assert run(python_sample[0], sample, "--golden", env=environment).returncode == 0
    sample.write_text(text.replace("if _saturates() if exact is None else exact:", "if exact:"))
    done = run(python_sample[0], sample, "--golden", env=environment)
    assert done.returncode == 1
    assert "with session.x64quantprecision it passes" in done.stdout


def test_python_and_cpp_cut_a_face_out_of_a_picture(python_sample, cpp_sample, unpacked, fer_b0, tmp_path):
    image = decode((unpacked / "golden" / "surprise.png").read_bytes())
    (tmp_path / "picture.ppm").write_bytes(b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes())
    box = (-9.5, 12.25, 61.0, 58.5)
    pixels = to_pixels(cut_out(image, Face(*box), fer_b0.spec.input.crop), fer_b0.spec.input)
    for format, program in {"tflite": python_sample, "onnx": (cpp_sample, unpacked)}.items():
        done = run(*program, tmp_path / "picture.ppm", *box)
        found = [float(line.split()[1]) for line in done.stdout.splitlines()]
        expected = open_runner(fer_b0.artifact(format), format)(pixels)["expression"]
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_cpp_refuses_what_is_no_image(cpp_sample, unpacked):
    done = run(cpp_sample, unpacked, unpacked / "labels.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not a PPM image" in done.stderr


@pytest.fixture(scope="module")
def with_policy(unpacked, fer_b0, tmp_path_factory):
    """The same package with a policy whose traces stop at every level."""
    network = next(each.sha256 for each in fer_b0.artifacts if (each.format, each.precision) == ("tflite", "int8"))
    path = write_policy(tmp_path_factory.mktemp("policy") / "policy.json", network)
    folder = path.parent / "app"
    shutil.copytree(unpacked, folder)
    policy = read_policy_for(fer_b0, path)
    (folder / "video.json").write_bytes(video_json(fer_b0, policy))
    (folder / "golden" / "traces.json").write_bytes(traces_json(fer_b0, policy))
    return folder


def altered(package, folder):
    """A copy of a package whose last trace expects the network to be asked once more."""
    shutil.copytree(package, folder)
    path = folder / "golden" / "traces.json"
    expected = json.loads(path.read_text())
    expected["traces"][-1]["frames"][-1]["asked"].append([0, 1])
    path.write_text(json.dumps(expected))
    return folder


def python_traces(folder, request):
    pytest.importorskip("PIL")
    return run(sys.executable, folder / "samples" / "python" / "expression.py", "--golden")


def cpp_traces(folder, request):
    return run(request.getfixturevalue("cpp_sample"), folder, "--golden")


def javascript_traces(folder, request):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    return run("node", STAND_INS / "traces.mjs", folder)


@pytest.mark.parametrize("traces", [python_traces, cpp_traces, javascript_traces])
def test_it_passes_the_traces_of_a_policy_and_notices_wrong_ones(with_policy, request, tmp_path, traces):
    done = traces(with_policy, request)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"{name}" in done.stdout for name in TRACES)
    done = traces(altered(with_policy, tmp_path / "app"), request)
    assert done.returncode == 1
    assert [line.split(": ")[1].split(",")[0] for line in done.stdout.splitlines() if "FAILED" in line] == ["irregular"]


def test_kotlin_compiles_resizes_and_passes_the_traces(kotlin_compiler, unpacked, with_policy, tmp_path):
    command, library = kotlin_compiler
    run("javac", "-d", tmp_path / "java", *STAND_INS.glob("*.java")).check_returncode()
    path = f"{library}:{ORG_JSON}:{tmp_path / 'java'}"
    sources = (*(unpacked / "samples" / "kotlin").glob("*.kt"), STAND_INS / "Main.kt")
    built = run(*command, "-Werror", "-cp", path, *sources, "-d", tmp_path / "kotlin")
    assert built.returncode == 0, built.stderr
    program = ("java", "-cp", f"{path}:{tmp_path / 'kotlin'}", "dev.edgefer.sample.MainKt")
    passed = run(*program, with_policy).stdout.splitlines()
    assert passed == [f"passed {name}" for name in TRACES]
    for case in ("pattern", "sad"):
        image = decode((unpacked / "golden" / f"{case}.png").read_bytes())
        (tmp_path / "in").write_bytes(image.tobytes())
        run(*program, tmp_path / "in", image.shape[1], image.shape[0], 64, 64, tmp_path / "out").check_returncode()
        resized = np.fromfile(tmp_path / "out", np.uint8)
        expected = np.fromfile(unpacked / "golden" / f"{case}.rgb", np.uint8)
        assert np.abs(resized.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("language", "file"),
    [
        ("kotlin", "Expression.kt"),
        ("kotlin", "FaceTimeline.kt"),
        ("swift", "Expression.swift"),
        ("swift", "FaceTimeline.swift"),
    ],
)
def test_it_parses(unpacked, language, file):
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip(f"tree_sitter_{language}")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    source = (unpacked / "samples" / language / file).read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source[: source.rindex(b"}")]).root_node.has_error
