"""The field's published networks, each from its own checkpoint to both artifacts.

    python -m benchmarks.networks [NAME ...]

needs torch and timm, and ../shared; the rows of NAMEs are measured anew, the others stay.  Weights are random, batch
norms fitted to faces and answers scaled, so that a row tells what is made of an architecture, not how well it knows
faces: with trained weights, int8 is nearer to float.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.architectures import import_timm
from benchmarks.published_networks import PUBLISHED, Published, parameters, seeded
from edgefer.bundle import Bundle
from edgefer.images import open_images
from edgefer.images.preprocess import normalise, to_pixels
from edgefer.networks.families import load_network

SHARED = Path(__file__).resolve().parents[2] / "shared"
FACES = SHARED / "data" / "fer2013_calibration.npz"
OTHERS = SHARED / "data" / "fer2013_public.npz"
RESULT = Path(__file__).resolve().parent / "results" / "networks.md"
CALIBRATION, EVALUATION = 64, 200
"""So many images."""

FITTED = 24
SPREAD = 3.0
"""Standard deviation that answers are scaled to."""

NETWORKS = {
    "hsemotion_mobilevit": Published(
        "mobilevit", lambda: import_timm().create_model("mobilevitv2_150", num_classes=10), dict
    ),
    **PUBLISHED,
}
HEADER = (
    "| network | family | parameters, M | TFLite, bytes | within 8 MB | SQNR, dB | same answer as float | "
    "both files alike | nodes outside XNNPACK | convert, s | peak, MB |\n"
    "|---|---|---:|---:|---|---:|---:|---:|---:|---:|---:|\n"
)
NOTE = """# The field's networks

`python -m benchmarks.networks`: {calibration} calibration images, {evaluation} others to evaluate on, all of FER2013;
random weights with batch norms fitted to faces.  SQNR is that of the main head.  Of an embedding, the answer is the
nearest neighbour.  A network over the budget is written all the same, with four-bit weights where those help.

"""


def fit(module: nn.Module, images: Sequence[torch.Tensor]) -> None:
    """Give batch norms the statistics of images, and answers a spread that tells them apart."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for batch in torch.cat([*images]).split(8):
            module(batch)
        module.eval()
        last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
        answers = module(torch.cat([*images]))
        answers = answers[0] if isinstance(answers, tuple) else answers
        if answers.shape[1] <= 10 and last.bias is not None:
            factor = SPREAD / answers.std(0).mean().clamp(min=1e-6)
            last.weight *= factor
            last.bias *= 0


def row(name: str, published: Published, folder: Path) -> str:
    """Convert and evaluate a network in processes of their own; returns its line of the table."""
    file = folder / f"{name}.pt"
    module = seeded(published)
    torch.save(published.content(module.state_dict()), file)
    spec = load_network(file, spec=published.stated, arch=published.arch).spec
    faces = open_images(FACES)
    pixels = [to_pixels(faces.read(index), spec.input) for index in range(0, len(faces), len(faces) // FITTED)][:FITTED]
    fit(module, [torch.from_numpy(normalise(image, spec.input)) for image in pixels])
    torch.save(published.content(module.state_dict()), file)
    (folder / f"{name}.spec.json").write_text(json.dumps(published.stated))
    code = (
        "import sys, json, edgefer; name, spec, arch, faces, out = sys.argv[1:]\n"
        f"edgefer.convert(name, out, spec=json.load(open(spec)), arch=arch, calibration=faces, samples={CALIBRATION})"
    )
    command = [sys.executable, "-c", code, file, folder / f"{name}.spec.json", published.arch, FACES, folder / name]
    seconds, peak = measured(command)
    others = np.load(OTHERS)
    np.savez(folder / "others.npz", images=others["images"][:EVALUATION])
    evaluate = ["evaluate", folder / name, "--data", folder / "others.npz", "--json", folder / "e.json", "-q"]
    measured([sys.executable, "-m", "edgefer", *evaluate])
    found = json.loads((folder / "e.json").read_text())
    bundle = Bundle.open(folder / name)
    int8 = {artifact.format: artifact.bytes for artifact in bundle.artifacts if artifact.precision == "int8"}
    drift, cross = found["artifacts"]["tflite"], found["cross_runtime"]
    same = drift.get("agreement") or drift.get("neighbour_agreement") or {"value": float("nan")}
    alike = cross["agreement"] if cross["agreement"] is not None else cross["identical"]
    cells = [
        *(name, published.family, f"{parameters(module) / 1e6:.2f}", f"{int8['tflite']:,}"),
        "yes" if not bundle.over_budget else "no",
        *(f"{drift['sqnr_db']:.1f}", f"{same['value']:.1%}", f"{alike:.1%}"),
        *(str(len(bundle.manifest["quantization"]["undelegated"])), f"{seconds:.0f}", f"{peak / 1e6:.0f}"),
    ]
    return f"| {' | '.join(cells)} |"


def measured(command: Iterable[Any]) -> tuple[float, int]:
    """Seconds that a command takes, and bytes of memory at its peak."""
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, [str(part) for part in command], os.environ)
    _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1, 5):
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def main() -> None:
    """Measure the networks named, or all, and write the table after each."""
    rows: dict[str, str] = {}
    if RESULT.is_file():
        lines = (line for line in RESULT.read_text("utf-8").splitlines() if line.startswith("| "))
        rows = {name: line for line in lines if (name := line.split("|")[1].strip()) in NETWORKS}
    for name in sys.argv[1:] or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = row(name, NETWORKS[name], Path(folder))
        print(rows[name], flush=True)
        table = HEADER + "".join(f"{rows[known]}\n" for known in NETWORKS if known in rows)
        RESULT.write_text(NOTE.format(calibration=CALIBRATION, evaluation=EVALUATION) + table, "utf-8")


if __name__ == "__main__":
    main()
