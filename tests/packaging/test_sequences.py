"""Packages of networks that look at more than one frame: the samples carry on what belongs to a sequence."""

import json
import shutil
import subprocess
import sys

import pytest

import edgefer
from tests.packaging.test_samples import compiled, run

torch = pytest.importorskip("torch")

from tests.conversion.recurrent import SPEC, CnnLstm, save_sequences, sequences  # noqa: E402

FRAMES = 100
STAND_IN = """
export const env = { wasm: {} };
export class Tensor {
  constructor(type, data, dims) { Object.assign(this, { type, data, dims }); }
}
export class InferenceSession {}
"""
SUM = """
import { ExpressionModel, ort } from "./browser/expression.mjs";
const contract = { outputs: [{ name: "sum", labels: ["a"] }], ...JSON.parse(process.argv[2]) };
const add = (tensor) => tensor.data.reduce((a, b) => a + b, 0);
const session = {
  inputNames: ["image"],
  async run({ image, h_in }) {
    const sum = new ort.Tensor("float32", [add(image) + (h_in ? add(h_in) : 0)], [1, 1]);
    return { sum, h_out: sum };
  },
};
const model = new ExpressionModel(contract, session);
const found = [];
for (const frame of [1, 2, 4]) found.push(...(await model.values(Uint8Array.of(frame))));
model.reset();
console.log(JSON.stringify([...found, ...(await model.values(Uint8Array.of(8)))]));
"""


@pytest.fixture(scope="module", params=["step", "clips"])
def app(request, tmp_path_factory):
    """The package of a network that carries states, and of one that reads clips, unpacked."""
    folder = tmp_path_factory.mktemp(request.param)
    is_step = request.param == "step"
    spec = SPEC if is_step else {**SPEC, "input": {**SPEC["input"], "frames": 4}}
    torch.save(CnnLstm(bidirectional=not is_step).state_dict(), folder / "net.pt")
    faces = save_sequences(folder / "faces.npz", sequences())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(folder / "home"))
        bundle = edgefer.convert(folder / "net.pt", folder / "bundle", spec=spec, calibration=faces)
    shutil.unpack_archive(edgefer.package(bundle, folder / "app.zip").path, folder / "app")
    return folder / "app"


def test_python_and_cpp_answer_as_the_host_over_a_hundred_frames(app, tmp_path):
    pytest.importorskip("PIL")
    done = run(sys.executable, app / "samples" / "python" / "expression.py", "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed  tflite") == done.stdout.count("passed  onnx") == FRAMES
    program = compiled(app, tmp_path)
    done = run(program, app, "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": off by") == FRAMES


def test_a_sample_that_forgets_what_was_before_fails(app, tmp_path):
    pytest.importorskip("PIL")
    shutil.copytree(app, tmp_path / "app")
    sample = tmp_path / "app" / "samples" / "python" / "expression.py"
    text = sample.read_text()
    assert text.count("        found = self.infer(") == 1
    sample.write_text(text.replace("        found = self.infer(", "        self.reset()\n        found = self.infer("))
    done = run(sys.executable, sample, "--golden")
    assert done.returncode == 1
    assert done.stdout.count("FAILED") > 1


def test_the_contract_says_what_is_carried_on(app):
    contract = json.loads((app / "preprocessing.json").read_text())
    text = (app / "PREPROCESSING.md").read_text()
    assert "## From frame to frame" in text
    if "states" in contract:
        assert [(state["input"], state["output"]) for state in contract["states"]] == [
            ("hidden_in", "hidden_out"),
            ("cell_in", "cell_out"),
        ]
        assert "| `cell_in` | `cell_out` | (1, 1, 10) |" in text
    else:
        assert contract["input"]["shape"] == [1, 4, 16, 16, 3]
        assert "the last 4 frames of one face" in text


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        ({"input": {"shape": [1, 1, 1, 1]}}, [1, 2, 4, 8]),
        (
            {
                "input": {"shape": [1, 1, 1, 1]},
                "states": [{"input": "h_in", "output": "h_out", "shape": [1, 1]}],
            },
            [1, 3, 7, 8],
        ),
        ({"input": {"shape": [1, 3, 1, 1, 1]}}, [3, 4, 7, 24]),
    ],
)
def test_the_browser_carries_on_what_belongs_to_a_sequence(app, tmp_path, contract, expected):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    runtime = tmp_path / "browser" / "onnxruntime-web"
    runtime.mkdir(parents=True)
    (runtime / "ort.wasm.bundle.min.mjs").write_text(STAND_IN)
    shutil.copy(app / "browser" / "expression.mjs", runtime.parent)
    (tmp_path / "sum.mjs").write_text(SUM)
    done = subprocess.run(
        [node, tmp_path / "sum.mjs", json.dumps(contract)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
