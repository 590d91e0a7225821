"""The field's networks, each from its own checkpoint or export to both artifacts.

    python -m benchmarks.networks [NAME ...]

needs torch and timm, and ../shared; the rows of NAMEs are measured anew, otherwise those that are lacking.  Each
network is trained for half a minute first (`brief_training.py`), and kept under edgefer's cache directory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.architectures import import_timm
from benchmarks.brief_training import BATCH, STEPS, WORK, first, grouped, kinds, steps, trained
from benchmarks.exported_networks import EXPORTED
from benchmarks.judge import float_tflite
from benchmarks.measured import digest, signed
from benchmarks.peer_environments import LITERT, PEERS
from benchmarks.published_networks import PUBLISHED, RECURRENT, Published, emotion_heads, parameters
from converters import mobilefacenet
from edgefer.bundle import Bundle
from edgefer.emit.tflite import emit_tflite
from edgefer.errors import EdgeferError
from edgefer.evaluation.metrics import before_activation, nearest, sqnr_db
from edgefer.graph.macs import macs
from edgefer.graph.passes import normalise as normalised
from edgefer.host.files import write_whole
from edgefer.images.preprocess import normalise, to_pixels
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.runtime.runners import open_runner, tflite_interpreter
from edgefer.spec import OutputSpec, Spec

SHARED = Path(__file__).resolve().parents[2] / "shared"
FACES = SHARED / "data" / "fer2013_calibration.npz"
OTHERS = SHARED / "data" / "fer2013_public.npz"
RESULT = Path(__file__).resolve().parent / "results" / "networks.md"
ROWS = RESULT.with_suffix(".json")
CALIBRATION, EVALUATION, TRIED = 200, 200, 8
"""So many images, or clips: that are calibrated on, by edgefer less a fifth that is held back; that are judged; that
float files are compared on."""

LOUD = 16
"""Images whose answer has so many times the typical power are unlike those calibrated on, and count in no SQNR: four
of 200 would decide it."""

ROOMS = "checkpoint", "emit", "graph", "networks", "onnx_import", "quantize"
"""Of edgefer, that the figures are about."""

BUDGET = 8_000_000
UNBOUNDED = 10**9
"""Bytes: no network is forced below int8, so that int8 itself is judged."""
PEAK = 6, 150_000_000
"""What a conversion may take: so many times the float weights' bytes, and so many bytes."""


def efficientnet(size: str) -> Published:
    """HSEmotion's EfficientNet of eight expressions, as a state dict."""
    arch = f"tf_efficientnet_{size}"
    head = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": mobilefacenet.EXPRESSIONS}
    stated = {"input": {"size": [64, 64], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}
    build = partial(import_timm().create_model, arch, num_classes=len(mobilefacenet.EXPRESSIONS))
    return Published("efficientnet", build, dict, {**stated, "outputs": [head]}, arch)


NETWORKS = {
    **RECURRENT,
    **EXPORTED,
    **{name: each for name, each in PUBLISHED.items() if name != "resnet34_features"},
    "hsemotion_b0": efficientnet("b0"),
    "hsemotion_b2": efficientnet("b2"),
    "hsemotion_mobilevit": Published(
        "mobilevit", lambda: import_timm().create_model("mobilevitv2_150", num_classes=10), dict
    ),
    "emotion_heads": emotion_heads(
        lambda: import_timm().create_model("efficientnet_b0", num_classes=0), "efficientnet_b0", 1280
    ),
}
SMALLER = {
    **dict.fromkeys(("hsemotion_mobilevit", "emotion_heads", "eac", "dan", "dacl"), 64),
    **dict.fromkeys(("facenet", "facenet2expnet"), 96),
}
"""Sides of images where the family's own would take too long here."""

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """What was found of a network.

    Attributes:
        made: its family, or how it was exported.
        size: side of its images.
        parameters: how many.
        left_out: the share of them that conversion leaves out, as channels that hardly matter.
        macs: multiply-accumulates per image, or clip.
        steps: that it was trained.
        accuracy: share of faces whose kind float knows; None of an embedding.
        float_off: how far the float ONNX file is from PyTorch, as a share of the largest number before the activation.
        tflite_off: how far the float TFLite file is from the float ONNX file, likewise.
        bytes: of both artifacts.
        sqnr_db: of each artifact's main head, before its activation.
        peers_db: the same of each peer's static quantization; None where it fails.
        typical_db: the same of the image in the middle, by each artifact and peer that there is; rows of older code
            have none.
        sources: of the code that it was measured with.
        same: the share of images for which each artifact answers as float does.
        alike: the share of images for which both artifacts answer alike.
        outside: operators of the TFLite file that XNNPACK leaves, with their share of a frame's time.
        cpu_s: processor time of the conversion.
        peak: bytes of memory at its peak.
    """

    made: str
    size: int
    parameters: int
    left_out: float
    macs: int
    steps: int
    accuracy: float | None
    float_off: float
    tflite_off: float
    bytes: Mapping[str, int]
    sqnr_db: Mapping[str, float]
    peers_db: Mapping[str, float | None]
    same: Mapping[str, float]
    alike: float
    outside: Mapping[str, float]
    cpu_s: float
    peak: int
    typical_db: Mapping[str, float] = field(default_factory=dict)
    sources: str = ""


def read(name: str, published: Published, module: nn.Module, folder: Path) -> tuple[Network, Path]:
    """What a user has of the network, written to `folder`, and read from there."""
    stated = {**published.stated}
    if published.family:
        path = published.save(module, folder, name)
        found = load_network(path, spec=stated, arch=published.arch).spec.input
        if name in SMALLER:
            stated["input"] = {"size": [SMALLER[name]] * 2, "mean": [*found.mean], "std": [*found.std]}
    else:
        path = folder / f"{name}.onnx"
        export(module, (1, len(stated["input"]["mean"]), *stated["input"]["size"]), path)
    (folder / "spec.json").write_text(json.dumps(stated))
    return load_network(path, spec=stated, arch=published.arch), path


def export(module: nn.Module, shape: Sequence[int], path: Path) -> None:
    """As most published files were written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = (torch.zeros(*shape),)
        torch.onnx.export(module, inputs, str(path), dynamo=False, opset_version=17, input_names=["input"])


def prepared(name: str, folder: Path) -> tuple[nn.Module, int]:
    """The network, trained, and its multiply-accumulates per image or clip."""
    published = NETWORKS[name]
    network, _ = read(name, published, published.build().eval(), folder)
    work = macs(normalised(network.graph)) * (published.frames if network.spec.states else 1)
    return trained(name, published, network.spec, work), work


def measure(name: str, folder: Path) -> Row:
    """Train, convert and judge a network, the conversion in a process of its own."""
    published = NETWORKS[name]
    module, work = prepared(name, folder)
    network, path = read(name, published, module, folder)
    spec = network.spec
    head = spec.outputs[0]
    frames = published.frames
    calibration, _ = samples(FACES, CALIBRATION, frames)
    judged, labels = samples(OTHERS, EVALUATION, frames)
    np.savez(
        folder / "faces.npz",
        images=calibration.reshape(-1, *calibration.shape[-2:]),
        **({"sequence": np.arange(len(calibration)).repeat(frames)} if frames else {}),
    )
    usage = convert(path, published.arch, folder, CALIBRATION * (frames or 1))

    pixels = [to_pixels(as_image(each), spec.input) for each in judged]
    feeds = np.concatenate([normalise(each, spec.input) for each in pixels])
    bundle = Bundle.open(folder / "bundle")
    found = {
        artifact.file.rpartition("_")[2]: answers((folder / "bundle" / artifact.file), artifact.format, pixels, spec)
        for artifact in bundle.artifacts
    }
    reference, int8 = found.pop("fp32.onnx"), {kind.partition(".")[2]: values for kind, values in found.items()}
    power = np.square(reference).sum(1)
    usual = power <= LOUD * np.median(power)
    with torch.no_grad():
        alone = [first(module(torch.from_numpy(feed[np.newaxis]))) for feed in feeds[:TRIED]]
        expected = centred(torch.cat(alone).numpy(), head)
    (folder / "float.tflite").write_bytes(float_tflite(network.graph, spec))
    plain = answers(folder / "float.tflite", "tflite", pixels[:TRIED], spec)
    choices = {kind: chosen(values, head) for kind, values in {"float": reference, **int8}.items()}
    export(module, (1, *feeds.shape[1:]), folder / "peer.onnx")
    if not spec.states:
        (folder / "peer.tflite").write_bytes(emit_tflite(normalised(network.graph), Plan()))
    fed = np.concatenate([normalise(to_pixels(as_image(each), spec.input), spec.input) for each in calibration])
    np.save(folder / "peer.npy", fed)
    peers = {"onnxruntime": onnxruntime_static(folder, feeds), "litert": litert_static(folder, feeds)}
    theirs = {peer: None if values is None else centred(values, head) for peer, values in peers.items()}
    return Row(
        made=published.family or "ONNX export",
        size=spec.input.size[0],
        parameters=parameters(module),
        left_out=bundle.manifest["quantization"].get("left_out", 0) / parameters(module),
        macs=work,
        steps=steps(work),
        accuracy=None if head.kind == "embedding" else float(np.mean(choices["float"] == labels)),
        float_off=off(expected, reference[:TRIED]),
        tflite_off=off(reference[:TRIED], plain),
        bytes={each.format: each.bytes for each in bundle.artifacts if each.precision == "int8"},
        sqnr_db={kind: sqnr_db(reference[usual], values[usual]) for kind, values in int8.items()},
        peers_db={
            peer: None if values is None else sqnr_db(reference[usual], values[usual])
            for peer, values in theirs.items()
        },
        typical_db={
            kind: float(np.median([*map(sqnr_db, reference, values)]))
            for kind, values in {**int8, **theirs}.items()
            if values is not None
        },
        same={kind: float(np.mean(choices[kind] == choices["float"])) for kind in int8},
        alike=float(np.mean(choices["onnx"] == choices["tflite"])),
        outside=dict(bundle.manifest["quantization"].get("undelegated_time", {})),
        sources=digest(ROOMS),
        **usage,
    )


def samples(file: Path, count: int, frames: int) -> tuple[Values, Values]:
    """Faces (count, 48, 48) of a file, or clips of stills of one kind (count, frames, 48, 48); and the kinds."""
    with np.load(file) as faces:
        images = faces["images"]
    labels = kinds(images)
    chosen = grouped(labels, frames or 1, np.random.default_rng(0))[:count]
    found = images[chosen]
    return found if frames else found[:, 0], labels[chosen[:, 0]]


def as_image(gray: Values) -> Values:
    """Gray pixels as RGB."""
    return np.repeat(gray[..., np.newaxis], 3, axis=-1)


def centred(values: Values, head: OutputSpec) -> Values:
    """What is compared of a network's own output: the columns of the main head, less what softmax does not see."""
    columns = values[:, slice(*head.columns)] if head.columns else values
    return columns - columns.mean(1, keepdims=True) if head.activation == "softmax" else columns


def answers(file: Path, format: str, pixels: Sequence[Values], spec: Spec) -> Values:
    """The same of a file that edgefer wrote; of what carries states, at the last frame."""
    head, runner, found = spec.outputs[0], open_runner(file, format, spec=spec), []
    for sample in pixels:
        runner.reset()
        for each in sample if spec.states else [sample]:
            heads = runner(each)
        found.append(heads[head.name])
    return before_activation(np.stack(found), head.activation)


def chosen(values: Values, head: OutputSpec) -> Values:
    """Classes, or of embeddings the nearest neighbours."""
    return nearest(values) if head.kind == "embedding" else values.argmax(1)


def off(expected: Values, found: Values) -> float:
    """The largest difference, as a share of the largest number."""
    return float(np.abs(expected - found).max() / np.abs(expected).max())


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
model, spec, arch, faces, count, out = sys.argv[1:]
spec = json.load(open(spec))
edgefer.convert(model, out, spec=spec, arch=arch, calibration=faces, samples=int(count), budget={UNBOUNDED})
"""


def convert(path: Path, arch: str, folder: Path, count: int) -> dict[str, Any]:
    """Convert with so many images; returns what it took."""
    command = [sys.executable, "-c", CONVERT, path, folder / "spec.json", arch, folder / "faces.npz", count]
    command = [sys.executable, "-c", ACCOUNTED, *map(str, command), str(folder / "bundle")]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr.strip()[-3000:])
    return dict(json.loads(process.stdout.splitlines()[-1]))


def onnxruntime_static(folder: Path, feeds: Values) -> Values | None:
    """What ONNX Runtime's static quantization answers; None where it fails."""
    command = [sys.executable, PEERS / "onnxruntime_static.py", "peer.onnx", "peer.npy", "peer_int8.onnx", "MinMax"]
    process = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    if process.returncode:
        print("ONNX Runtime:", process.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    session = onnxruntime.InferenceSession(folder / "peer_int8.onnx", providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": feed[np.newaxis]})[0] for feed in feeds])


def litert_static(folder: Path, feeds: Values) -> Values | None:
    """What litert-quantizer makes of edgefer's float TFLite file; None where it fails, or there is no such file."""
    if not (folder / "peer.tflite").is_file():
        return None
    if LITERT.state != "ready":
        LITERT.install()
    command = [PEERS / "litert_static.py", "peer.tflite", "peer.npy", "peer_int8.tflite"]
    try:
        LITERT.run(command, cwd=folder, timeout_s=600)
        interpreter = tflite_interpreter(folder / "peer_int8.tflite")
    except EdgeferError as error:
        print(f"{LITERT.name}: {error}", file=sys.stderr)
        return None
    (taken,), (given, *_) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for feed in feeds:
        interpreter.set_tensor(taken["index"], as_stored(feed[np.newaxis], taken))
        interpreter.invoke()
        values = interpreter.get_tensor(given["index"])
        scale, zero_point = given["quantization"] if values.dtype == np.int8 else (1.0, 0)
        found.append((values.astype(np.float32) - zero_point) * scale)
    return np.concatenate(found)


def as_stored(values: Values, details: Mapping[str, Any]) -> Values:
    """Numbers as a tensor of a TFLite file holds them."""
    if details["dtype"] != np.int8:
        return values
    scale, zero_point = details["quantization"]
    return np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)


NOTE = f"""# The field's networks

`python -m benchmarks.networks`: each network converted by default options, `--effort fast`, but for a budget, so that
it is int8 that is judged; {CALIBRATION} calibration images, of which edgefer holds a fifth back, and {EVALUATION}
others to judge by, all of FER2013.  Networks that look at sequences read clips of stills of one kind, and are judged
at the last frame.

Each network was trained from nothing for {STEPS} steps of {BATCH} images (fewer where those would take more than
{WORK / 1e12:.0f} T multiply-accumulates; where there are 0, only batch norms were fitted) to tell which of seven kinds
of faces one is, of kinds that k-means found in FER2013's train file: half a minute suffices for that, and there is
something to lose.  How well it came to know them stands in the table.

When last layers compute in float, how much is left out at most, what is evened out, joined and stored as whole pixels,
and how far ranges reach was settled while looking at some of these networks on other faces, and at others of timm:
mini_xception, shufflenetv2, mobilenetv2, emotion_heads, mobilenetv3_large, ghostnet, cnn_bilstm, resnet18, facenet,
eac, vgg16_bn and dan.  Their gains are optimistic where they are near a bound.
"""
FIDELITY = (
    "\n## What is lost\n\n"
    "- Left out: the share of parameters that conversion removes by default, as channels that hardly matter, to be "
    "faster; it\n  costs SQNR on purpose.\n"
    "- Float off: the float ONNX file against PyTorch, and the float TFLite file against it, as a share of the largest "
    "number\n  before the activation.\n"
    "- SQNR: of the main head before its activation, the worse of both artifacts, beside static quantization by ONNX "
    "Runtime (QDQ,\n  per-channel, min/max) and by litert-quantizer (static int8, as it comes, of edgefer's float "
    "TFLite file) with the same\n  images; gain: over the better of both.  Images whose answer has more than "
    f"{LOUD} times the typical power count in none: a\n  few would decide it.\n"
    "- Typical: the SQNR of the image in the middle, beside the better peer's.  Where it is far above the SQNR of "
    "all, a few images\n  hold nearly all of the noise, whose like were not among those calibrated on.\n"
    "- As float: the share of images for which TFLite and ONNX answer what float does; of an embedding, with the same "
    "nearest\n  neighbour.\n\n"
    "| network | from | input | parameters, M | left out | steps | kinds known | float off, ONNX / TFLite | SQNR, dB "
    "| ONNX Runtime | litert-quantizer | gain, dB | typical, dB | as float | both alike |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)
COST = (
    "\n## What it takes\n\n"
    "CPU: the conversion's processor time, which does not depend on what else runs.  Peak: of memory, beside "
    f"{PEAK[0]} times the float weights and {PEAK[1] / 1e6:.0f} MB.\n\n"
    "| network | TFLite, bytes | ONNX, bytes | within 8 MB | outside XNNPACK, of the time | MMACs | CPU, s | peak, MB "
    "| bound, MB |\n|---|---:|---:|---|---|---:|---:|---:|---:|\n"
)


def fidelity(name: str, row: Row) -> str:
    """Of the first table."""
    sqnr, peers = min(row.sqnr_db.values()), [row.peers_db[peer] for peer in ("onnxruntime", "litert")]
    known = [value for value in peers if value is not None]
    cells = [
        *(name, row.made, str(row.size), f"{row.parameters / 1e6:.2f}", f"{row.left_out:.0%}", str(row.steps)),
        "" if row.accuracy is None else f"{row.accuracy:.0%}",
        *(f"{row.float_off:.0e} / {row.tflite_off:.0e}", f"{sqnr:.1f}"),
        *("fails" if value is None else f"{value:.1f}" for value in peers),
        f"{sqnr - max(known):+.1f}" if known else "",
        typical(row),
        *(f"{row.same['tflite']:.1%} / {row.same['onnx']:.1%}", f"{row.alike:.1%}"),
    ]
    return f"| {' | '.join(cells)} |\n"


def typical(row: Row) -> str:
    """The worse artifact, beside the better peer."""
    ours = [found for kind, found in row.typical_db.items() if kind not in row.peers_db]
    theirs = [found for kind, found in row.typical_db.items() if kind in row.peers_db]
    return f"{min(ours):.1f}" + (f" / {max(theirs):.1f}" if theirs else "") if ours else ""


def cost(name: str, row: Row) -> str:
    """Of the second table."""
    told = ", ".join(f"{kind} {share:.0%}" for kind, share in row.outside.items())
    cells = [
        *(name, f"{row.bytes['tflite']:,}", f"{row.bytes['onnx']:,}"),
        "yes" if max(row.bytes.values()) <= BUDGET else "no",
        *(told or "none", f"{row.macs / 1e6:.0f}", f"{row.cpu_s:.0f}", f"{row.peak / 1e6:.0f}"),
        f"{(PEAK[0] * 4 * row.parameters + PEAK[1]) / 1e6:.0f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def measured() -> dict[str, Any]:
    """Rows that are there already."""
    return dict(json.loads(ROWS.read_text("utf-8"))) if ROWS.is_file() else {}


def main() -> None:
    """Measure the networks named, or those that lack a row, and write the tables after each."""
    failed = False
    for name in sys.argv[1:] or [name for name in NETWORKS if name not in measured()]:
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = asdict(measure(name, Path(folder)))
        except Exception as error:  # the others are measured all the same
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        found = {**measured(), name: row}
        known = {name: found[name] for name in NETWORKS if name in found}
        rows = {name: Row(**row) for name, row in known.items()}
        print(fidelity(name, rows[name]), cost(name, rows[name]), sep="", end="", flush=True)
        write_whole(ROWS, json.dumps(known, indent=1) + "\n")
        write_whole(RESULT, signed(tables(rows), *ROOMS))
    sys.exit(failed)


def tables(rows: Mapping[str, Row]) -> str:
    """Both, and which rows are of other sources than those that the last line names."""
    now = digest(ROOMS)
    earlier = [name for name, row in rows.items() if row.sources != now]
    return NOTE + "".join(
        [
            *(FIDELITY, *(fidelity(*item) for item in rows.items())),
            *(COST, *(cost(*item) for item in rows.items())),
            f"\nMeasured with earlier sources: {', '.join(earlier)}.\n" if earlier else "",
        ]
    )


if __name__ == "__main__":
    main()
