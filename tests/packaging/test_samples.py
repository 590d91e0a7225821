"""The integration samples, run where they can be, on the package that an app developer would unpack."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefer.images.decode import decode
from tests.host.without_vnni import hidden
from tests.packaging.golden_table import expected_values

STAND_INS = Path(__file__).with_name("stand_ins")
CASES = ("angry", "happy", "neutral", "pattern", "sad", "surprise")


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
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    folder = tmp_path_factory.mktemp("cpp")
    wheel = Path(importlib.util.find_spec("onnxruntime").origin).parent / "capi"
    (folder / "libonnxruntime.so.1").symlink_to(next(wheel.glob("libonnxruntime.so.*")))
    source = unpacked / "samples" / "cpp" / "expression.cpp"
    options = ("-std=c++17", "-Wall", "-Wextra", "-Werror", f"-Wl,-rpath,{folder}", f"-I{STAND_INS}")
    built = run(compiler, *options, source, folder / "libonnxruntime.so.1", "-o", folder / "expression")
    assert built.returncode == 0, built.stderr
    return folder / "expression"


@pytest.fixture(scope="module")
def kotlin_compiler():
    """The command of Kotlin's compiler, and the class path of its standard library."""
    found = importlib.util.find_spec("run_kotlin_kernel")
    if found is None or shutil.which("javac") is None:
        pytest.skip("needs javac, and Kotlin's compiler: pip install kotlin-jupyter-kernel (80 MB)")
    jars = sorted((Path(found.origin).parent / "jars").glob("*.jar"))
    library = next(jar for jar in jars if jar.name.startswith("kotlin-stdlib"))
    compiler = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    return ["java", "-cp", ":".join(map(str, jars)), compiler, "-no-stdlib", "-no-reflect"], library


def test_python_passes_the_golden_tests_in_both_runtimes(python_sample):
    done = run(*python_sample, "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == 2 * len(CASES)


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
    assert done.stdout.count("passed") == len(CASES)


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


def test_cpp_refuses_what_is_no_image(cpp_sample, unpacked):
    done = run(cpp_sample, unpacked, unpacked / "labels.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not a PPM image" in done.stderr


def test_kotlin_compiles_and_resizes_as_the_contract_says(kotlin_compiler, unpacked, tmp_path):
    command, library = kotlin_compiler
    run("javac", "-d", tmp_path / "java", *STAND_INS.glob("*.java")).check_returncode()
    path = f"{library}:{tmp_path / 'java'}"
    sources = (unpacked / "samples" / "kotlin" / "Expression.kt", STAND_INS / "Main.kt")
    built = run(*command, "-Werror", "-cp", path, *sources, "-d", tmp_path / "kotlin")
    assert built.returncode == 0, built.stderr
    for case in ("pattern", "sad"):
        image = decode((unpacked / "golden" / f"{case}.png").read_bytes())
        (tmp_path / "in").write_bytes(image.tobytes())
        program = ("java", "-cp", f"{path}:{tmp_path / 'kotlin'}", "dev.edgefer.sample.MainKt")
        run(*program, tmp_path / "in", image.shape[1], image.shape[0], 64, 64, tmp_path / "out").check_returncode()
        resized = np.fromfile(tmp_path / "out", np.uint8)
        expected = np.fromfile(unpacked / "golden" / f"{case}.rgb", np.uint8)
        assert np.abs(resized.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("language", "file"), [("kotlin", "Expression.kt"), ("swift", "Expression.swift")])
def test_it_parses(unpacked, language, file):
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip(f"tree_sitter_{language}")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    source = (unpacked / "samples" / language / file).read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source[: source.rindex(b"}")]).root_node.has_error
