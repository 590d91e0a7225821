"""Small networks with the operators that real code mixes, each from PyTorch's export to both artifacts.

    python -m benchmarks.operators [PATTERN]

needs torch and onnxscript, and ../shared; the rows of networks whose name matches PATTERN, as `attention_*`, are
measured anew, otherwise those that are lacking.  The networks (`operator_networks/`) are trained for seconds first
(`brief_training.py`), and every second one is exported by PyTorch's newer exporter.  Exit code 1 where a bound does
not hold.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from hashlib import sha256
from pathlib import Path
from shutil import copy
from time import perf_counter
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
import torch
from torch import nn

import edgefer
from benchmarks import operator_networks
from benchmarks.brief_training import BATCH, WORK, trained
from benchmarks.judge import float_tflite
from benchmarks.measured import digest, signed
from benchmarks.networks import (
    FACES,
    LOUD,
    OTHERS,
    UNBOUNDED,
    answers,
    as_image,
    centred,
    chosen,
    export,
    off,
    onnxruntime_static,
    samples,
)
from benchmarks.operator_networks import NETWORKS
from benchmarks.published_networks import Published
from edgefer.bundle import Bundle
from edgefer.errors import EdgeferError, FaultError, RefusedError
from edgefer.evaluation.metrics import sqnr_db
from edgefer.graph.macs import macs
from edgefer.graph.passes import normalise as normalised
from edgefer.host.files import write_whole
from edgefer.images.preprocess import normalise, to_pixels
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from edgefer.spec import OutputSpec, Spec

RESULT = Path(__file__).resolve().parent / "results" / "operators.md"
ROWS = RESULT.with_suffix(".json")
CALIBRATION, EVALUATION, TRIED = 64, 200, 16
"""So many images, or clips: that are calibrated on, by edgefer less a fifth that is held back; that are judged; that
float files, and those of other precisions, are compared on."""

STEPS = 32
"""Of training."""

EXACT, ALIKE = 1e-4, 0.995
"""Bounds: what float files may be off by, as a share of the largest number; the share of images for which both int8
files have the same class."""

ROOMS = "emit", "graph", "onnx_import", "quantize"
"""Of edgefer, that the figures are about."""

FAULT = "fault of edgefer"
"""Stands in messages that blame edgefer itself."""

GAIN = 1.0
"""Decibels over ONNX Runtime, below which a network is named."""

LONGEST = 400
"""Characters of a refusal that are told."""

Values = np.ndarray[Any, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """What was found of a network; without figures where it was refused.

    Attributes:
        exporter: of PyTorch, that wrote its file.
        macs: multiply-accumulates per image, or clip.
        float_off: how far each float file is from PyTorch, as a share of the largest number, by the worst head.
        sqnr_db: of each int8 file, before the activation, by the worst head.
        typical_db: the same of the main head and the image in the middle.
        gain_db: over ONNX Runtime's static quantization, of the main head, of `all` images and the `typical` one;
            nothing where that fails.
        same: the share of images for which each int8 file answers as float does.
        alike: the share for which both answer alike.
        others_db: SQNR of the worse file with weights in int8 or float16, on fewer images; None where refused.
        outside: operators of the int8 TFLite file that XNNPACK leaves, with their share of a frame's time.
        refusals: by what was refused, in edgefer's own words.
        wrong: bounds that do not hold.
        seconds: that it took.
        sources: of the code that it was measured with.
    """

    exporter: str
    macs: int = 0
    float_off: Mapping[str, float] = field(default_factory=dict)
    sqnr_db: Mapping[str, float] = field(default_factory=dict)
    typical_db: float | None = None
    gain_db: Mapping[str, float] = field(default_factory=dict)
    same: Mapping[str, float] = field(default_factory=dict)
    alike: float | None = None
    others_db: Mapping[str, float | None] = field(default_factory=dict)
    outside: Mapping[str, float] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    wrong: Sequence[str] = ()
    seconds: float = 0.0
    sources: str = ""


@dataclass(frozen=True)
class Case:
    """A trained network and what is asked of it.

    Attributes:
        name: of its file, too.
        module: in evaluation mode.
        network: as edgefer reads its file.
        path: of that.
        stated: its Spec as a user writes it.
        pixels: of judged images, each uint8 (H, W, 3), or of clips.
        feeds: what the module takes for them, float32 (N, 3, H, W), or (N, T, 3, H, W).
        folder: for what is made.
    """

    name: str
    module: nn.Module
    network: Network
    path: Path
    stated: Mapping[str, Any]
    pixels: Sequence[Values]
    feeds: Values
    folder: Path

    @property
    def spec(self) -> Spec:
        """What the network means."""
        return self.network.spec

    def answers(self, file: Path, format: str, count: int = EVALUATION) -> dict[str, Values]:
        """What an artifact says of the first images before its activations, (count, columns) by head."""
        heads = self.spec.outputs
        return {
            head.name: answers(
                file, format, self.pixels[:count], replace(self.spec, outputs=tuple(led_by(heads, head)))
            )
            for head in heads
        }

    def expected(self, count: int = TRIED) -> dict[str, Values]:
        """What PyTorch itself says, likewise."""
        with torch.no_grad():
            found = [self.module(torch.from_numpy(feed[np.newaxis])) for feed in self.feeds[:count]]
        rows = [each if isinstance(each, tuple) else (each,) for each in found]
        heads = zip(self.spec.outputs, zip(*rows, strict=True), strict=True)
        return {head.name: centred(torch.cat(values).numpy(), head) for head, values in heads}

    def convert(self, precision: str, calibration: Path) -> Bundle:
        """Its bundle."""
        return edgefer.convert(
            self.path,
            self.folder / precision,
            spec=self.stated,
            calibration=calibration,
            samples=CALIBRATION,
            budget=UNBOUNDED,
            precision=precision,
        )


class UnexportedError(Exception):
    """PyTorch's exporter itself refuses a network."""


def led_by(heads: Iterable[OutputSpec], main: OutputSpec) -> list[OutputSpec]:
    """The same heads, one of them before the others."""
    return [main, *(head for head in heads if head != main)]


def measure(name: str, folder: Path) -> Row:
    """Train, export, convert and judge a network."""
    began = perf_counter()
    published, path = NETWORKS[name], folder / f"{name}.onnx"
    spec = Spec.from_dict(dict(published.stated), name)
    module = trained(f"operators_{name}_{zoo()}", published, spec, WORK // (BATCH * STEPS))
    row = Row(exporter_of(name), sources=digest(ROOMS))
    try:
        row = replace(row, exporter=written(published, module, row.exporter, path))
    except UnexportedError as error:
        row = replace(row, refusals={"export": str(error)})
    else:
        refused = Refused(folder)
        case = refused.unless("read", lambda: prepared(name, module, path))
        if case is not None:
            row = judged(case, replace(row, macs=macs(normalised(case.network.graph))), refused)
        row = replace(row, refusals=refused.told, wrong=[*refused.wrong, *broken(row)])
    return replace(row, seconds=perf_counter() - began)


class Refused:
    """What is refused, and what of that is edgefer's own fault.

    Attributes:
        told: by what was asked for, edgefer's words.
        wrong: faults.
    """

    def __init__(self, folder: Path) -> None:
        self.told: dict[str, str] = {}
        self.wrong: list[str] = []
        self._folder = folder

    def unless(self, what: str, make: Callable[[], T]) -> T | None:
        """What is made; None where it is refused."""
        try:
            return make()
        except EdgeferError as error:
            self.told[what] = " ".join(f"{error} {error.detail}".replace(f"{self._folder}/", "").split())[:LONGEST]
            if isinstance(error, FaultError | RefusedError) or FAULT in str(error):
                self.wrong.append(f"{what}: a fault of edgefer")
        except Exception as error:  # what nobody foresaw
            self.told[what] = f"{type(error).__name__}: {error}"[:LONGEST]
            self.wrong.append(f"{what}: traceback")
        return None


def exporter_of(name: str) -> str:
    """Every second network by the newer, as a checksum of its name decides, whatever networks there are beside it."""
    return ("TorchScript", "dynamo")[crc32(name.encode()) % 2]


def written(published: Published, module: nn.Module, preferred: str, path: Path) -> str:
    """Export, by the other exporter where the preferred one cannot; returns which it was.

    Raises:
        UnexportedError: neither can.
    """
    spec = Spec.from_dict(dict(published.stated), path.stem)
    shape = shape_of(published)
    names = [head.name for head in spec.outputs]
    for name in sorted(EXPORTERS, key=lambda name: name != preferred):
        try:
            exported(module, shape, path, names, EXPORTERS[name])
        except Exception as error:  # each exporter raises its own
            told = " ".join(str(error).split())[:200]
            refusal = f"{type(error).__name__}: {told}"
        else:
            return name
    raise UnexportedError(refusal)


def shape_of(published: Published) -> tuple[int, ...]:
    """Of what the module takes, for one image, or clip."""
    frames = [published.frames] if published.frames else []
    return (1, *frames, 3, *published.stated["input"]["size"])


def prepared(name: str, module: nn.Module, path: Path) -> Case:
    """The network as edgefer reads its file, and what it is judged by; beside the file, the peer's."""
    published = NETWORKS[name]
    spec = Spec.from_dict(dict(published.stated), name)
    peer = path.with_name("peer.onnx")
    try:
        export(module, shape_of(published), peer)
    except Exception:  # the older exporter cannot
        copy(path, peer)
    images, _ = faces(OTHERS, EVALUATION, published.frames)
    pixels = [to_pixels(as_image(each), spec.input) for each in images]
    feeds = np.concatenate([normalise(each, spec.input) for each in pixels])
    network = load_network(path, spec=dict(published.stated))
    return Case(name, module, network, path, published.stated, pixels, feeds, path.parent)


@cache
def zoo() -> str:
    """Twelve digits of the SHA-256 of the networks' sources."""
    sources = sorted(Path(operator_networks.__file__).parent.glob("*.py"))
    return sha256("".join(path.read_text() for path in sources).encode()).hexdigest()[:12]


@cache
def faces(file: Path, count: int, frames: int) -> tuple[Values, Values]:
    """As `samples`, once."""
    return samples(file, count, frames)


def exported(module: nn.Module, shape: Sequence[int], path: Path, names: Sequence[str], how: Mapping[str, Any]) -> None:
    """Write the module's file, its outputs by these names."""
    named = {"input_names": ["input"], "output_names": list(names)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(*shape),), str(path), **named, **how)


EXPORTERS: Mapping[str, Mapping[str, Any]] = {
    "TorchScript": {"dynamo": False, "opset_version": 17},
    "dynamo": {"dynamo": True, "verbose": False, "external_data": False},
}
"""As most published files were written, and as PyTorch exports by default."""


def judged(case: Case, row: Row, refused: Refused) -> Row:
    """The row, with what the conversions come to."""
    calibration = calibrated_on(case, case.spec.input.frames or 0)
    bundle = refused.unless("int8", lambda: case.convert("int8", calibration))
    if bundle is not None:
        row = int8_judged(case, row, bundle)
    others = {
        each: refused.unless(each, lambda each=each: other_db(case, each, calibration)) for each in ("w8", "fp16")
    }
    return replace(row, others_db=others)


def calibrated_on(case: Case, frames: int) -> Path:
    """A file of faces, or clips, for edgefer; and beside it what the peer takes for them."""
    images, _ = faces(FACES, CALIBRATION, frames)
    path = case.folder / "faces.npz"
    sequence = {"sequence": np.arange(len(images)).repeat(frames)} if frames else {}
    np.savez(path, images=images.reshape(-1, *images.shape[-2:]), **sequence)
    pixels = [to_pixels(as_image(each), case.spec.input) for each in images]
    np.save(case.folder / "peer.npy", np.concatenate([normalise(each, case.spec.input) for each in pixels]))
    return path


def int8_judged(case: Case, row: Row, bundle: Bundle) -> Row:
    """The row, with what the float and int8 files do."""
    found = {
        artifact.file.rpartition("_")[2]: case.answers(bundle.path / artifact.file, artifact.format)
        for artifact in bundle.artifacts
    }
    reference, int8 = found.pop("fp32.onnx"), {kind.partition(".")[2]: values for kind, values in found.items()}
    plain = case.folder / "float.tflite"
    plain.write_bytes(float_tflite(case.network.graph, case.spec))
    expected = case.expected()
    floats = {"onnx": reference, "tflite": case.answers(plain, "tflite", TRIED)}
    main = case.spec.outputs[0]
    choices = {kind: chosen(each[main.name], main) for kind, each in {"float": reference, **int8}.items()}
    peer = onnxruntime_static(case.folder, case.feeds)
    wanted = reference[main.name]
    theirs = None if peer is None else measures(wanted, centred(peer, main))
    ours = [measures(wanted, each[main.name]) for each in int8.values()]
    worse = {what: min(each[what] for each in ours) for what in ours[0]}
    return replace(
        row,
        float_off={
            kind: max(off(values, each[name][:TRIED]) for name, values in expected.items())
            for kind, each in floats.items()
        },
        sqnr_db={kind: worst_db(reference, each) for kind, each in int8.items()},
        typical_db=worse["typical"],
        gain_db={} if theirs is None else {what: worse[what] - theirs[what] for what in worse},
        same={kind: float(np.mean(choices[kind] == choices["float"])) for kind in int8},
        alike=float(np.mean(choices["onnx"] == choices["tflite"])),
        outside=dict(bundle.manifest["quantization"].get("undelegated_time", {})),
    )


def other_db(case: Case, precision: str, calibration: Path) -> float:
    """SQNR against PyTorch of the worse file of another precision."""
    bundle = case.convert(precision, calibration)
    ours = [each for each in bundle.artifacts if each.precision == precision]
    expected = case.expected()
    return min(worst_db(expected, case.answers(bundle.path / each.file, each.format, TRIED)) for each in ours)


def worst_db(reference: Mapping[str, Values], found: Mapping[str, Values]) -> float:
    """SQNR of the head that loses most."""
    return min(usual_db(values, found[name]) for name, values in reference.items())


def usual_db(reference: Values, found: Values) -> float:
    """SQNR of the images whose answer is not much louder than others'."""
    power = np.square(reference).sum(1)
    usual = power <= LOUD * np.median(power)
    return sqnr_db(reference[usual], found[usual])


def measures(reference: Values, found: Values) -> dict[str, float]:
    """SQNR of all images, and of the one in the middle."""
    typical = float(np.median([*map(sqnr_db, reference, found)]))
    return {"all": usual_db(reference, found), "typical": typical}


def broken(row: Row) -> list[str]:
    """Bounds that do not hold."""
    if row.alike is None:
        return []
    floats = [f"float {kind} off by {each:.0e}" for kind, each in row.float_off.items() if not each <= EXACT]
    numbers = {**{f"int8 {kind}": each for kind, each in row.sqnr_db.items()}, **row.others_db}
    strange = [f"{kind}: not a number" for kind, each in numbers.items() if each is not None and np.isnan(each)]
    alike = [f"alike {row.alike:.1%}"] if row.alike < ALIKE else []
    return [*floats, *strange, *alike]


NOTE = f"""# Operators as real code mixes them

`python -m benchmarks.operators`: small networks on 64x64 faces, each a short convolutional stem and what stands in its
name, exported by one of PyTorch's two exporters, converted by default options with {CALIBRATION} calibration images,
and judged on {EVALUATION} others, all of FER2013.  Each was trained for {STEPS} steps of {BATCH} images before, so that
its answers depend on the image.  That is little: a network that hardly tells faces apart has little signal beside the
same noise, so that SQNR compares quantizers of one network, and not networks.  `head_plain` is a stem and nothing else.

Bounds: float files within {EXACT:.0e} of PyTorch, {ALIKE:.1%} of images with the same class in both int8 files, numbers
everywhere, and no traceback.
"""
TABLE = (
    "\n## Each network\n\n"
    "- Float off: ONNX and TFLite in float against PyTorch, as a share of the largest number, by the worst head.\n"
    "- SQNR: before the activation, of the worse file: of the head that loses most, where images whose answer has more "
    f"than\n  {LOUD} times the typical power count in none; and of the main head and the image in the middle.  A few "
    "images that are louder\n  than those calibrated on hold much of the noise, so that the latter tells more.\n"
    "- Gain: over ONNX Runtime's static quantization (QDQ, per-channel, min/max), likewise, of the main head.\n"
    "- w8, fp16: SQNR against PyTorch of weights in int8 and in float16.\n"
    "- Outside: TFLite operators that XNNPACK leaves, with their share of a frame's time.\n\n"
    "| network | exporter | MMACs | float off, ONNX / TFLite | SQNR, all / typical, dB | gain, dB | as float "
    "| both alike | w8, dB | fp16, dB | outside XNNPACK | s |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|\n"
)


def table(rows: Mapping[str, Row]) -> str:
    """The whole page but for its last line."""
    refused: dict[tuple[str, str], list[str]] = {}
    for name, row in rows.items():
        for what, words in row.refusals.items():
            refused.setdefault((name, words), []).append(what)
    told = [f"- {name}, {', '.join(whats)}: {words}\n" for (name, words), whats in refused.items()]
    return "".join(
        [
            NOTE,
            summary(rows),
            *(["\n## Refused, in edgefer's words\n\n", *told] if told else []),
            TABLE,
            *(line(*item) for item in rows.items()),
        ]
    )


def summary(rows: Mapping[str, Row]) -> str:
    """What stands above the table."""
    now = digest(ROOMS)
    judged = [row for row in rows.values() if row.alike is not None]
    exact = sum(max(row.float_off.values()) <= EXACT for row in judged)
    alike = [row.alike for row in judged if row.alike is not None]
    others = {kind: [row.others_db.get(kind) for row in rows.values()] for kind in ("w8", "fp16")}
    points = [
        f"{len(rows)} networks, {len(judged)} of them judged; float exact in both formats: {exact}.",
        f"int8, dB: {quantiles(min(row.sqnr_db.values()) for row in judged)}.",
        f"int8 of the typical image, dB: {quantiles(row.typical_db for row in judged)}.",
        f"Gain over ONNX Runtime of the typical image, dB: {quantiles(row.gain_db.get('typical') for row in judged)}; "
        f"it fails on {sum(not row.gain_db for row in judged)}.",
        f"Less than {GAIN:.0f} dB gained: {named(rows, lambda row: row.gain_db.get('typical', GAIN) < GAIN)}.",
        f"Both int8 files alike on all faces: {alike.count(1.0)}; at least on {min(alike, default=0):.1%}.",
        *(f"{kind}, dB: {quantiles(each)}." for kind, each in others.items()),
        f"Refused in int8: {named(rows, lambda row: {'export', 'read', 'int8'} & row.refusals.keys())}.",
        f"Refused in w8: {named(rows, lambda row: 'w8' in row.refusals)}; "
        f"in fp16: {named(rows, lambda row: 'fp16' in row.refusals)}.",
        f"Operators outside XNNPACK: {named(rows, lambda row: row.outside)}.",
        f"**Bounds that do not hold**: {named(rows, lambda row: row.wrong, lambda row: '; '.join(row.wrong))}.",
        f"Measured with earlier sources: {named(rows, lambda row: row.sources != now)}.",
    ]
    return "\n" + "".join(f"- {point}\n" for point in points)


def named(rows: Mapping[str, Row], is_so: Callable[[Row], Any], why: Callable[[Row], str] = lambda row: "") -> str:
    """The networks of which something is so, each with why."""
    found = [f"{name} ({told})" if (told := why(row)) else name for name, row in rows.items() if is_so(row)]
    return ", ".join(found) or "none"


def quantiles(values: Iterable[float | None]) -> str:
    """The least, the tenth percentile, the median and the ninetieth percentile of those that there are."""
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    least, low, middle, high = np.quantile(known, (0, 0.1, 0.5, 0.9))
    return f"{least:.1f} at least, {low:.1f} to {high:.1f} in the middle 80 %, median {middle:.1f}"


def gain(row: Row) -> str:
    """Of all images and of the typical one."""
    return " / ".join(f"{each:+.1f}" for each in row.gain_db.values()) or "fails"


def line(name: str, row: Row) -> str:
    """Of the table."""
    if row.alike is None:
        cells = [name, row.exporter, f"{row.macs / 1e6:.1f}", *("",) * 8, f"{row.seconds:.0f}"]
        return f"| {' | '.join(cells)} |\n"
    cells = [
        *(name, row.exporter, f"{row.macs / 1e6:.1f}"),
        f"{row.float_off['onnx']:.0e} / {row.float_off['tflite']:.0e}",
        *(f"{min(row.sqnr_db.values()):.1f} / {row.typical_db:.1f}", gain(row)),
        *(f"{min(row.same.values()):.1%}", f"{row.alike:.1%}"),
        *("refused" if (db := row.others_db[kind]) is None else f"{db:.1f}" for kind in ("w8", "fp16")),
        ", ".join(f"{kind} {share:.0%}" for kind, share in row.outside.items()),
        f"{row.seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def measured() -> dict[str, Row]:
    """Rows that are there already."""
    found = json.loads(ROWS.read_text("utf-8")) if ROWS.is_file() else {}
    return {name: Row(**found[name]) for name in NETWORKS if name in found}


def main() -> int:
    """Measure networks and write rows and table after each; 1 where a bound does not hold."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    lacking = NETWORKS.keys() - measured().keys()
    for name in NETWORKS:
        if name not in lacking if wanted is None else not fnmatchcase(name, wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = measure(name, Path(folder))
        rows = {**measured(), name: row}
        write_whole(ROWS, json.dumps({each: asdict(rows[each]) for each in NETWORKS if each in rows}, indent=1) + "\n")
        write_whole(RESULT, signed(table(measured()), *ROOMS))
        print(line(name, row), *(f"  {fault}\n" for fault in row.wrong), sep="", end="", flush=True)
    return int(any(row.wrong for row in measured().values()))


if __name__ == "__main__":
    sys.exit(main())
