"""`edgefer check` fails what is worse: one bundle, spoilt in each gated way.

    python benchmarks/check_worse.py
    python benchmarks/check_worse.py --device a72    # also ARM instructions, on a board of `edgefer board up`

needs ../shared; takes some minutes.  Exit code 1 where the gate in question does not fail.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from check_noise import SETTINGS, run_until_trusted
from measured import signed
from onnx import numpy_helper

import edgefer
from edgefer.bundle import SUMS, Bundle, write_bundle
from edgefer.device.results import Benchmark, Settings
from edgefer.evaluation.results import Evaluation
from edgefer.gates.results import Check

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
MODEL = SHARED / "models" / "fer_b0.onnx"
FACES = SHARED / "data" / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "check_worse.md"
BLOCK = "blocks.1.1"
COPIES = 10
RUNS = 3
SAMPLES = 96
"""To calibrate on: the same for every bundle, which are compared with each other."""
NOISE = 0.007
"""Standard deviation that is added to weights, as a share of theirs: it costs about two points of accuracy."""


@dataclass(frozen=True)
class Case:
    """One way to be worse.

    Attributes:
        title: what was done.
        gate: that must fail.
        check: what it said.
    """

    title: str
    gate: str
    check: Check

    @property
    def failed(self) -> list[str]:
        """All gates that failed."""
        return sorted({decision.gate for decision in self.check.decisions if decision.outcome == "fail"})


def main() -> int:
    """Spoil, check, write the table, and return 1 if a gate let something pass."""
    parser = argparse.ArgumentParser(description="Spoil a bundle of fer_b0 in each gated way, and check it.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    parser.add_argument("--device", help="an emulated board to count instructions on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as scratch:
        cases = list(spoil(Path(scratch), options.device))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(signed("\n".join(render(cases)), "device", "evaluation", "gates"), "utf-8")
    print(options.output.read_text("utf-8"))
    return 0 if all(case.gate in case.failed for case in cases) else 1


def spoil(folder: Path, device: str | None) -> Iterator[Case]:
    """Every case against the same baseline."""
    good = convert(onnx.load(MODEL), folder / "good")
    baseline = folder / "baseline.json"
    baseline.write_text(judged(good, None, evaluated(good), measured(good, device)).baseline, "utf-8")
    yield Case("100 kB more in the TFLite file", "size", judged(heavier(good, folder / "heavy"), baseline))
    noisy = convert(perturbed(onnx.load(MODEL)), folder / "noisy")
    yield Case("noise on the weights", "accuracy", judged(noisy, baseline, evaluated(noisy)))
    slow = convert(repeated(onnx.load(MODEL), BLOCK, COPIES), folder / "slow")
    runs = measured(slow, device)
    done = f"{BLOCK} run {COPIES} times more"
    yield Case(done, "latency_p50", judged(slow, baseline, None, runs))
    if device:
        yield Case(done, "instructions", judged(slow, baseline, None, runs))


def convert(model: onnx.ModelProto, folder: Path) -> Bundle:
    """The bundle of a model that means what fer_b0 means."""
    folder.mkdir()
    onnx.save(model, folder / "fer_b0.onnx")
    (folder / "fer_b0.spec.toml").write_bytes((MODEL.parent / "fer_b0.spec.toml").read_bytes())
    calibration = SHARED / "data" / "fer2013_calibration.npz"
    return edgefer.convert(folder / "fer_b0.onnx", folder / "bundle", calibration=calibration, samples=SAMPLES)


def heavier(bundle: Bundle, path: Path) -> Bundle:
    """The bundle with 100 kB of nothing behind its TFLite file."""
    names = (bundle.path / SUMS).read_text("utf-8").split()[1::2]
    files = {name: (bundle.path / name).read_bytes() for name in names if name != "manifest.json"}
    artifacts = []
    for artifact in bundle.manifest["artifacts"]:
        if artifact["format"] == "tflite":
            data = files[artifact["file"]] = files[artifact["file"]] + b"\0" * 100_000
            artifact = artifact | {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        artifacts.append(artifact)
    return write_bundle(path, {**bundle.manifest, "artifacts": artifacts}, files)


def perturbed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with noise on all convolutions."""
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            weights = numpy_helper.to_array(tensor)
            weights = weights + NOISE * weights.std() * rng.normal(size=weights.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return model


def repeated(model: onnx.ModelProto, block: str, times: int) -> onnx.ModelProto:
    """The model with a residual block run so many times more, each copy on what the last one gave.

    The copies add a tenth of what the block adds, so that values stay in the range that the network was trained for.
    """
    nodes = list(model.graph.node)
    inside = [index for index, node in enumerate(nodes) if f"/{block}/" in node.name]
    adds = [tensor for tensor in model.graph.initializer if tensor.name in nodes[inside[-2]].input]
    tenths = [numpy_helper.from_array(numpy_helper.to_array(t) / np.float32(10), f"{t.name}_tenth") for t in adds]
    model.graph.initializer.extend(tenths)
    first, last = nodes[inside[0]], nodes[inside[-1]]
    entry, leaving = first.input[0], last.output[0]
    made = {output for index in inside for output in nodes[index].output}
    copies = []
    before = leaving
    for copy in range(1, times + 1):
        names = {
            entry: before,
            **{name: f"{name}_{copy}" for name in made},
            **{t.name: f"{t.name}_tenth" for t in adds},
        }
        for index in inside:
            node = onnx.NodeProto()
            node.CopyFrom(nodes[index])
            node.name = f"{node.name}_{copy}"
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names[name] for name in node.output]
            copies.append(node)
        before = names[leaving]
    rest = nodes[inside[-1] + 1 :]
    for node in rest:
        node.input[:] = [before if name == leaving else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: inside[-1] + 1], *copies, *rest])
    return model


def evaluated(bundle: Bundle) -> Evaluation:
    """On the public test set of FER2013."""
    return edgefer.evaluate(bundle, FACES, layer_images=0)


def measured(bundle: Bundle, device: str | None) -> list[Benchmark]:
    """Trusted runs of the TFLite file on this machine, and one of both files on an emulated board."""
    runs = [run for run in run_until_trusted(bundle, RUNS, ("tflite",)) if run.trusted]
    return [*runs, instructions(bundle, device)] if device else runs


def instructions(bundle: Bundle, device: str) -> Benchmark:
    """ARM instructions per frame."""
    quick = Settings(frames=2, seconds=0, warmup=1)
    return edgefer.benchmark(
        bundle, [device], samples=4, formats=("tflite", "onnx"), settings=quick, count_instructions=True
    )


def judged(
    bundle: Bundle, baseline: Path | None, evaluation: Evaluation | None = None, runs: Sequence[Benchmark] = ()
) -> Check:
    """Checked by the default gates."""
    return edgefer.check(bundle, baseline, evaluation=evaluation, benchmarks=runs)


def render(cases: Sequence[Case]) -> Iterator[str]:
    """The table."""
    yield "# A bundle of fer_b0, spoilt in each gated way"
    yield ""
    yield f"Default gates; 3,589 images; {RUNS} trusted runs of {SETTINGS.frames:,} frames or more of the TFLite file"
    yield "on this machine, which others use meanwhile; instructions on an emulated board. All bundles are calibrated"
    yield f"on {SAMPLES} images, and each was given only the evidence that its gate needs."
    yield ""
    yield "| what was done | must fail | failed | found |"
    yield "|---|---|---|---|"
    for case in cases:
        found = [d for d in case.check.decisions if d.gate == case.gate and d.outcome == "fail"]
        text = "; ".join(f"{d.place}: {d.finding.text}" for d in found if d.finding)
        yield f"| {case.title} | {case.gate} | {', '.join(case.failed)} | {text} |"
    yield ""


if __name__ == "__main__":
    sys.exit(main())
