"""`sweep`: convert all, evaluate all, measure all, and go on where it was interrupted.

OUT/
  bundles/NAME      a bundle for each network and combination of options
  sweep.json        schema `edgefer.sweep/1`; sweep.csv the same as a table; report.html the same for people
  kept/             what was done, by what it depends on: the same command takes it from there
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from edgefer.bundle import SUMS, Bundle
from edgefer.device.benchmark import benchmark
from edgefer.device.registry import find_device
from edgefer.device.results import Settings
from edgefer.errors import DeviceError, InputError
from edgefer.evaluation.evaluate import evaluate
from edgefer.execution import Executor, Store, execute, executor
from edgefer.execution.fitness import versions
from edgefer.host.progress import SILENT, Progress
from edgefer.images import ImageSet, open_images
from edgefer.sweeping.conversions import Conversion, Convert, conversion_job, unpack
from edgefer.sweeping.request import Request, read_request
from edgefer.sweeping.results import Failed, Pace, Point, Score, Sweep

BUNDLES = "bundles"
KEPT = "kept"

_FORMATS = ("tflite", "onnx")


def sweep(
    request: Request | str | Path,
    output: str | Path,
    *,
    workers: Executor | int | None = None,
    progress: Progress = SILENT,
) -> Sweep:
    """Try everything that is asked for.

    What was done is kept in `output`, and is not done again by a later call that asks for it, of this request or of
    another one.

    Args:
        request: what is to be tried, or the file SWEEP.toml that says so.
        output: directory of bundles and of what is kept.
        workers: who converts and evaluates; boards are measured from here, each by one run at a time.
        progress: who is told.

    Raises:
        UsageError: there is no such board.
        InputError: the request or an image set cannot be read, or not one network can be converted.
        EvidenceError: the workers are gone; what was done until then is kept.
    """
    request, output = request if isinstance(request, Request) else read_request(Path(request)), Path(output)
    devices = [find_device(name) for name in request.devices]
    images = {name: open_images(path) for name, path in request.evaluations.items()}
    who, kept = executor(workers), Store(output / KEPT)
    bundles, failures = _converted(request, output, kept, who, progress)
    if not bundles:
        raise InputError(f"not one network can be converted; {failures[0].what}: {failures[0].reason}")
    measured = {}
    with progress.stage("evaluate", len(bundles) * len(images)) as advance:
        for name, (_, bundle) in bundles.items():
            for data in images:
                measured[name, data] = _evaluated(bundle, images[data], kept, who)
                advance()
    paces: dict[tuple[str, str], dict[str, Pace]] = {}
    if devices:
        settings = Settings(frames=request.frames, seconds=request.seconds)
        stopped = Event()
        with (
            progress.stage("boards", len(devices) * len(bundles)) as advance,
            ThreadPoolExecutor(len(devices)) as pool,
        ):

            def on_board(device: str) -> None:
                for name, (_, bundle) in bundles.items():
                    if stopped.is_set():
                        return
                    try:
                        paces[name, device] = _paced(bundle, device, settings, kept)
                    except (DeviceError, InputError) as error:
                        failures.append(Failed(f"{name} on {device}", error.message))
                    advance()

            try:
                for future in [pool.submit(on_board, device.name) for device in devices]:
                    future.result()
            finally:
                stopped.set()
    names = tuple(device.name for device in devices)
    points = _points(bundles, measured, paces, list(images), names)
    return Sweep(request.name, points, tuple(sorted(failures, key=lambda each: each.what)), request.limits, names)


Bundles = Mapping[str, tuple[Conversion, Bundle]]


def _converted(
    request: Request, output: Path, kept: Store, workers: Executor, progress: Progress
) -> tuple[Bundles, list[Failed]]:
    conversions = [
        Conversion(f"{network.name}-{number}" if len(request.options) > 1 else network.name, network, options)
        for network in request.networks
        for number, options in enumerate(request.options, 1)
    ]
    failures = []
    here = repr(sorted(versions().items()))
    jobs, places = [], []
    for place, conversion in enumerate(conversions):
        try:
            jobs.append(conversion_job(conversion, here))
            places.append(place)
        except InputError as error:
            failures.append(Failed(conversion.name, error.message))
    found: dict[int, Bundle] = {}
    for turn, outcome in execute(Convert(), jobs, workers, kept, progress, "convert", "networks"):
        conversion = conversions[places[turn]]
        if isinstance(outcome, InputError):
            failures.append(Failed(conversion.name, outcome.message))
        else:
            found[places[turn]] = _placed(outcome, output / BUNDLES / conversion.name)
    return {conversions[place].name: (conversions[place], found[place]) for place in sorted(found)}, failures


def _placed(packed: bytes, path: Path) -> Bundle:
    """The bundle at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        unpack(packed, Path(folder) / path.name)
        if path.exists():
            shutil.rmtree(path)
        (Path(folder) / path.name).rename(path)
    return Bundle.open(path)


def _evaluated(bundle: Bundle, images: ImageSet, kept: Store, workers: Executor) -> Mapping[str, Any]:
    """By format: accuracy and the like; `reference`: the float network's."""
    key = _key("evaluation", bundle, images.sha256, versions())
    if (done := kept.load(key)) is None:
        head = evaluate(bundle, images, workers=workers, layer_images=0).all.main
        classes = head.reference.classes
        found: dict[str, Any] = {"reference": {"accuracy": classes and classes.accuracy}}
        for format, result in head.artifacts.items():
            drop, agreement = result.drift.accuracy_drop, result.drift.agreement
            own = result.metrics.classes
            found[format] = {
                "accuracy": own and own.accuracy,
                "own_drop": drop and drop.points,
                "agreement": agreement and agreement.value,
            }
        done = json.dumps(found).encode()
        kept.save(key, done)
    loaded: Mapping[str, Any] = json.loads(done)
    return loaded


def _paced(bundle: Bundle, device: str, settings: Settings, kept: Store) -> dict[str, Pace]:
    """By format, what a frame takes."""
    target = find_device(device)
    where = target.name if target.emulated else target.address  # emulated ones have another port each time
    key = _key("benchmark", bundle, where, settings)
    if (done := kept.load(key)) is None:
        found = benchmark(bundle, [target], settings=settings, formats=_FORMATS, count_instructions=target.emulated)
        (run,) = found.runs
        paces = {}
        for artifact in run.artifacts.values():
            counted = artifact.instructions
            value, unit = (
                (artifact.timing.invoke.p50, "ms") if counted is None else (counted.total / 1e6, "M instructions")
            )
            trusted = counted is not None or run.verdict.status == "trusted"
            paces[artifact.artifact.format] = {"value": value, "unit": unit, "trusted": trusted}
        done = json.dumps(paces).encode()
        if all(pace["trusted"] for pace in paces.values()):  # others are measured again by the same command
            kept.save(key, done)
    return {format: Pace(**pace) for format, pace in json.loads(done).items()}


def _key(what: str, bundle: Bundle, *depends: object) -> str:
    sums = sha256((bundle.path / SUMS).read_bytes()).hexdigest()
    return sha256(repr((what, sums, *depends)).encode()).hexdigest()


def _points(
    bundles: Bundles,
    measured: Mapping[tuple[str, str], Mapping[str, Any]],
    paces: Mapping[tuple[str, str], Mapping[str, Pace]],
    data: Sequence[str],
    devices: Sequence[str],
) -> tuple[Point, ...]:
    best = {
        each: max(
            (accuracy for name in bundles if (accuracy := measured[name, each]["reference"]["accuracy"]) is not None),
            default=None,
        )
        for each in data
    }
    points = []
    for name, (conversion, bundle) in bundles.items():
        for format in _FORMATS:
            artifact = next((a for a in bundle.artifacts if a.format == format and not a.is_reference), None)
            if artifact is None:
                continue
            scores = {each: _score(measured[name, each][format], best[each]) for each in data}
            here = {
                device: paces[name, device][format] for device in devices if format in paces.get((name, device), {})
            }
            options = {
                key: Path(value).name if key in ("calibration", "costs") else value
                for key, value in conversion.options.items()
            }
            points.append(Point(conversion.network.name, options, format, name, artifact.bytes, scores, here))
    return tuple(points)


def _score(found: Mapping[str, Any], best: float | None) -> Score:
    accuracy, agreement = found["accuracy"], found["agreement"]
    if accuracy is not None and best is not None:
        drop = round(100 * (best - accuracy), 6)
    else:
        drop = None if agreement is None else round(100 * (1 - agreement), 6)
    return Score(accuracy, found["own_drop"], agreement, drop)
