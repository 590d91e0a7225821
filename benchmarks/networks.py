"""The field's networks, each from its own checkpoint or export to both artifacts.

    python -m benchmarks.networks [NAME ...]

needs torch and timm, and ../shared; the rows of NAMEs are measured anew, otherwise those that are lacking.  Weights are
random, batch norms and the last layer fitted to faces, so that a row tells what is made of an architecture, not how
well it knows faces: with trained weights, int8 is nearer to float.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.architectures import import_timm
from benchmarks.exported_networks import EXPORTED
from benchmarks.measured import signed
from benchmarks.published_networks import PUBLISHED, Published, parameters, seeded
from edgefer.bundle import Bundle
from edgefer.emit.tflite import emit_tflite
from edgefer.evaluation.metrics import before_activation, nearest, sqnr_db
from edgefer.graph.contract import apply_contract
from edgefer.graph.passes import normalise as normalised
from edgefer.host.files import write_whole
from edgefer.images import open_images
from edgefer.images.preprocess import normalise, to_pixels
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.runtime.runners import open_runner
from edgefer.spec import OutputSpec

SHARED = Path(__file__).resolve().parents[2] / "shared"
FACES = SHARED / "data" / "fer2013_calibration.npz"
OTHERS = SHARED / "data" / "fer2013_public.npz"
RESULT = Path(__file__).resolve().parent / "results" / "networks.md"
PEER = Path(__file__).resolve().parent / "peers" / "onnxruntime_static.py"
CALIBRATION, EVALUATION, FITTED, TRIED = 40, 200, 64, 8
"""So many images: that are calibrated on, a fifth of them held back; that are judged; that networks are fitted
to; that float files are compared on."""

SPREAD = 3.0
"""Standard deviation that answers are scaled to."""

MOST_CLASSES = 10

GAINS = 0.8, 1.2
"""Of batch norms: with smaller ones, what tells images apart is lost from layer to layer."""

BUDGET = 8_000_000
UNBOUNDED = 10**9
"""Bytes: no network is forced below int8, so that int8 itself is judged."""

NETWORKS = {
    "hsemotion_mobilevit": Published(
        "mobilevit", lambda: import_timm().create_model("mobilevitv2_150", num_classes=10), dict
    ),
    **PUBLISHED,
    **EXPORTED,
}
SMALLER = {"hsemotion_mobilevit": 128, "eac": 96, "dan": 112, "facenet": 96, "facenet2expnet": 96}
"""Sides of images where the family's own would take too long here."""

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """What was found of a network.

    Attributes:
        made: its family, or how it was exported.
        size: side of its images.
        parameters: how many.
        float_off: how far the float ONNX file is from PyTorch, as a share of the largest number before the activation.
        tflite_off: how far the float TFLite file is from the float ONNX file, likewise.
        bytes: of both artifacts.
        sqnr_db: of each artifact's main head, before its activation.
        peer_db: the same of ONNX Runtime's static quantization; None where it fails.
        same: the share of images for which each artifact answers as float does.
        alike: the share of images for which both artifacts answer alike.
        outside: operators of the TFLite file that XNNPACK leaves, with their share of a frame's time.
        cpu_s: processor time of the conversion.
        peak: bytes of memory at its peak.
    """

    made: str
    size: int
    parameters: int
    float_off: float
    tflite_off: float
    bytes: Mapping[str, int]
    sqnr_db: Mapping[str, float]
    peer_db: float | None
    same: Mapping[str, float]
    alike: float
    outside: Mapping[str, float]
    cpu_s: float
    peak: int


HEADER = (
    "| network | from | input | parameters, M | TFLite, bytes | within 8 MB | float off by | SQNR, dB "
    "| ONNX Runtime's, dB | as float, TFLite / ONNX | both alike | outside XNNPACK | CPU, s | peak, MB |\n"
    "|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---|---:|---:|\n"
)
NOTE = f"""# The field's networks

`python -m benchmarks.networks`: {CALIBRATION} calibration images, of which a fifth is held back, and {EVALUATION}
others to judge by, all of FER2013; random weights, batch norms fitted to faces, and a last layer that reads what
differs most between faces; `--effort fast`, and no budget, so that it is int8 that is judged.

- Float off by: the float ONNX file against PyTorch, as a share of the largest number before the activation.
- SQNR: of the main head before its activation, the worse of both artifacts; beside it ONNX Runtime's static
  quantization (QDQ, per-channel) of the same network with {FITTED} images.
- As float: the share of images for which an artifact answers what float does; of an embedding, with the same nearest
  neighbour.
- CPU: the conversion's processor time, which does not depend on what else runs.

"""


def fit(module: nn.Module, images: torch.Tensor) -> None:
    """Give batch norms the statistics of images, and answers that tell the images apart.

    What a random layer answers hardly depends on the image; what is left of that, amplified, would be noise for every
    quantizer.  So the last layer reads what differs most between images, as a trained one does: the principal
    components of its input, each of the same spread, turned at random.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()
        nn.init.uniform_(layer.weight, *GAINS)
        layer.momentum = None
        layer.train()
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        for batch in images.split(8):
            module(batch)
        module.eval()
        if last.bias is None or len(last.weight) > MOST_CLASSES:
            return
        watching = last.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        answers = first(module(images))
        watching.remove()
        (features,) = seen
        if isinstance(last, nn.Linear) and features.shape == (len(images), last.in_features):
            _, spreads, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
            count = len(last.weight) - 1
            turned = torch.linalg.qr(torch.randn(count + 1, count))[0]
            last.weight.copy_(turned / spreads[:count] @ axes[:count] * len(images) ** 0.5 * SPREAD)
            last.bias.copy_(-last.weight @ features.mean(0))
        else:
            factor = SPREAD / answers.std(0).mean()
            last.weight *= factor
            last.bias.copy_(factor * (last.bias - answers.mean(0)))


def first(outputs: Any) -> torch.Tensor:
    """The main output."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def read(name: str, published: Published, module: nn.Module, folder: Path) -> tuple[Network, Path]:
    """What a user has of the network, written to `folder`, and read from there."""
    stated = {**published.stated}
    if published.family:
        path = folder / f"{name}.pt"
        torch.save(published.content(module.state_dict()), path)
        found = load_network(path, spec=stated, arch=published.arch).spec.input
        if name in SMALLER:
            stated["input"] = {"size": [SMALLER[name]] * 2, "mean": [*found.mean], "std": [*found.std]}
    else:
        path = folder / f"{name}.onnx"
        export(module, stated["input"]["size"], len(stated["input"]["mean"]), path)
    (folder / "spec.json").write_text(json.dumps(stated))
    return load_network(path, spec=stated, arch=published.arch), path


def export(module: nn.Module, size: Sequence[int], channels: int, path: Path) -> None:
    """As most published files were written."""
    example = (torch.zeros(1, channels, *size),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, str(path), dynamo=False, opset_version=17, input_names=["input"])


def measure(name: str, folder: Path) -> Row:
    """Convert and judge a network, the conversion in a process of its own."""
    published = NETWORKS[name]
    module = seeded(published)
    network, path = read(name, published, module, folder)
    faces, others = open_images(FACES), np.load(OTHERS)["images"][:EVALUATION]
    spread = faces.some(FITTED)
    feeds = [
        normalise(to_pixels(spread.read(index), network.spec.input), network.spec.input) for index in range(FITTED)
    ]
    fit(module, torch.from_numpy(np.concatenate(feeds)))
    network, path = read(name, published, module, folder)

    usage = convert(path, published.arch, folder)
    bundle = Bundle.open(folder / "bundle")
    pixels = [to_pixels(image, network.spec.input) for image in map(as_image, others)]
    judged = np.concatenate([normalise(each, network.spec.input) for each in pixels])
    head = network.spec.outputs[0]
    with torch.no_grad():
        expected = torch.cat([first(module(batch)) for batch in torch.from_numpy(judged).split(20)]).numpy()
    expected = centred(expected, head)
    found = {
        artifact.file.rpartition("_")[2]: answers(
            (folder / "bundle" / artifact.file).read_bytes(), artifact.format, pixels, head
        )
        for artifact in bundle.artifacts
    }
    reference, int8 = found.pop("fp32.onnx"), {kind.partition(".")[2]: values for kind, values in found.items()}
    float_tflite = emit_tflite(apply_contract(normalised(network.graph), network.spec), Plan())
    choices = {kind: chosen(values, head) for kind, values in {"float": reference, **int8}.items()}
    return Row(
        made=published.family or "ONNX export",
        size=network.spec.input.size[0],
        parameters=parameters(module),
        float_off=off(expected, reference),
        tflite_off=off(reference[:TRIED], answers(float_tflite, "tflite", pixels[:TRIED], head)),
        bytes={each.format: each.bytes for each in bundle.artifacts if each.precision == "int8"},
        sqnr_db={kind: sqnr_db(reference, values) for kind, values in int8.items()},
        peer_db=peer(module, np.concatenate(feeds), judged, expected, head, folder),
        same={kind: float(np.mean(choices[kind] == choices["float"])) for kind in int8},
        alike=float(np.mean(choices["onnx"] == choices["tflite"])),
        outside=outside(bundle),
        **usage,
    )


def as_image(gray: Values) -> Values:
    """Gray pixels as RGB."""
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def centred(values: Values, head: OutputSpec) -> Values:
    """What is compared of a network's own output: the columns of the main head, less what softmax does not see."""
    columns = values[:, slice(*head.columns)] if head.columns else values
    return columns - columns.mean(1, keepdims=True) if head.activation == "softmax" else columns


def answers(model: bytes, format: str, pixels: Iterable[Values], head: OutputSpec) -> Values:
    """The same of a file that edgefer wrote."""
    runner = open_runner(model, format)
    return before_activation(np.stack([runner(each)[head.name] for each in pixels]), head.activation)


def chosen(values: Values, head: OutputSpec) -> Values:
    """Classes, or of embeddings the nearest neighbours."""
    return nearest(values) if head.kind == "embedding" else values.argmax(1)


def off(expected: Values, found: Values) -> float:
    """The largest difference, as a share of the largest number."""
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def outside(bundle: Bundle) -> dict[str, float]:
    """Kinds of operators that XNNPACK leaves, and their share of a frame's time."""
    return dict(bundle.manifest["quantization"].get("undelegated_time", {}))


ACCOUNTED = """
import os, sys, json
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
told = {"cpu_s": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}
sys.exit(f"failed with {os.waitstatus_to_exitcode(status)}") if status else print("\\n" + json.dumps(told))
"""
"""Started from a small process, as on Linux a child's peak memory is never reported below its parent's."""

CONVERT = f"""
import sys, json, edgefer
model, spec, arch, faces, out = sys.argv[1:]
spec = json.load(open(spec))
edgefer.convert(model, out, spec=spec, arch=arch, calibration=faces, samples={CALIBRATION}, budget={UNBOUNDED})
"""


def convert(path: Path, arch: str, folder: Path) -> dict[str, Any]:
    """Convert; returns what it took."""
    command = [sys.executable, "-c", CONVERT, path, folder / "spec.json", arch, FACES, folder / "bundle"]
    process = subprocess.run([sys.executable, "-c", ACCOUNTED, *map(str, command)], capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr.strip()[-3000:])
    return dict(json.loads(process.stdout.splitlines()[-1]))


def peer(
    module: nn.Module, calibration: Values, judged: Values, expected: Values, head: OutputSpec, folder: Path
) -> float | None:
    """The SQNR of ONNX Runtime's static quantization."""
    export(module, judged.shape[2:], judged.shape[1], folder / "peer.onnx")
    np.save(folder / "peer.npy", calibration)
    command = [sys.executable, PEER, "peer.onnx", "peer.npy", "peer_int8.onnx", "MinMax"]
    process = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    if process.returncode:
        print("ONNX Runtime:", process.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    session = onnxruntime.InferenceSession(folder / "peer_int8.onnx", providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {"input": image[np.newaxis]})[0] for image in judged])
    return sqnr_db(expected, centred(found, head))


def line(name: str, row: Row) -> str:
    """Of the table."""
    told = ", ".join(f"{kind} {share:.0%}" for kind, share in row.outside.items())
    cells = [
        *(name, row.made, str(row.size), f"{row.parameters / 1e6:.2f}", f"{row.bytes['tflite']:,}"),
        "yes" if max(row.bytes.values()) <= BUDGET else "no",
        *(f"{row.float_off:.0e}", f"{min(row.sqnr_db.values()):.1f}"),
        "fails" if row.peer_db is None else f"{row.peer_db:.1f}",
        *(f"{row.same['tflite']:.1%} / {row.same['onnx']:.1%}", f"{row.alike:.1%}", told or "none"),
        *(f"{row.cpu_s:.0f}", f"{row.peak / 1e6:.0f}"),
    ]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Measure the networks named, or those that lack a row, and write the table after each."""
    file = RESULT.with_suffix(".json")
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    failed = False
    for name in sys.argv[1:] or [name for name in NETWORKS if name not in known]:
        try:
            with tempfile.TemporaryDirectory() as folder:
                known[name] = asdict(measure(name, Path(folder)))
        except Exception as error:  # the others are measured all the same
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        print(line(name, Row(**known[name])), end="", flush=True)
        known = {name: known[name] for name in NETWORKS if name in known}
        write_whole(file, json.dumps(known, indent=1) + "\n")
        table = NOTE + HEADER + "".join(line(name, Row(**row)) for name, row in known.items())
        write_whole(RESULT, signed(table, "checkpoint", "emit", "graph", "networks", "onnx_import", "quantize"))
    sys.exit(failed)


if __name__ == "__main__":
    main()
