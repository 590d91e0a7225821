"""`benchmark`: a bundle's artifacts on the boards they are for, timed and compared with this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock

from edgefer.bundle import SUMS, Bundle
from edgefer.device.clip import read_clip
from edgefer.device.on_board import Extras, run_on, ticks
from edgefer.device.registry import find_device
from edgefer.device.results import Benchmark, Run, Settings
from edgefer.device.target import LOCAL, Device
from edgefer.device.workload import prepare
from edgefer.errors import DeviceError, UsageError
from edgefer.host.progress import SILENT, Progress
from edgefer.images import ImageSet, open_images

SAMPLES = 256
"""Images on which boards are compared with this machine, where the user gives more."""


def benchmark(
    bundle: Bundle | str | Path,
    devices: Sequence[Device | str] = (LOCAL,),
    *,
    data: ImageSet | str | Path | None = None,
    samples: int = SAMPLES,
    settings: Settings | None = None,
    formats: Collection[str] | None = None,
    count_instructions: bool = False,
    operator_costs: bool = False,
    pipeline: str | Path | None = None,
    throughput: bool | None = False,
    batch: int = 1,
    duration: float = 0.0,
    progress: Progress = SILENT,
) -> Benchmark:
    """Time a bundle's artifacts on devices, and compare what they compute there.

    Nothing but Python, numpy and a runtime is needed on a board; `edgefer devices setup` puts them there.  Interrupted
    after an artifact was measured, it returns what was measured.

    Args:
        bundle: an opened bundle, or its directory.
        devices: names, or addresses like `pi@host:22`; several are measured at the same time.
        data: images to measure drift and, where labelled, accuracy on; generated patterns when None, on which boards
            are only compared with this machine.
        samples: at most so many of them.
        settings: how frames are timed.
        formats: of `tflite`, `onnx` (int8) and `fp32`; all when None.
        count_instructions: ARM instructions per inference, on emulated boards.
        operator_costs: what operators cost there, by which `convert` then chooses what computes in float; in
            instructions on emulated boards, else in nanoseconds.
        pipeline: a video of a face; its frames go through detector, crop, network and smoothing on each device, at
            `settings.fps`, or 30 frames per second.
        throughput: also frames per second, of one stream and of as many interpreters side by side as saturate a device;
            None: not on emulated boards, whose time means nothing.
        batch: with more than one, `throughput` also with so many images at once, of artifacts that take them.
        duration: seconds for which the artifacts then run in turns, to see what that does to the device.
        progress: who is told.

    Raises:
        UsageError: there is no such device.
        InputError: bundle, data or video cannot be read.
        DeviceError: no device could be measured; those that could not, among others that could, are in the result.
    """
    settings = settings or Settings()
    targets = [device if isinstance(device, Device) else find_device(device) for device in devices]
    if not targets or len({device.name for device in targets}) < len(targets):
        raise UsageError("devices must be one or more, each with a name of its own")
    with progress.stage("read"):
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
        images = open_images(Path(data)) if isinstance(data, str | Path) else data
        clip = read_clip(Path(pipeline)) if pipeline is not None else None
    if batch > 1:
        _tell_single(bundle, progress)
        throughput = True
    extras = Extras(count_instructions, operator_costs, clip, throughput, batch, duration)
    workload = prepare(bundle, images, samples, formats, progress)
    names = ", ".join(device.name for device in targets)
    failures: dict[str, DeviceError] = {}
    runs: dict[str, Run] = {}
    lock, stopped = Lock(), Event()
    with (
        progress.stage(f"benchmark {names}", len(targets) * ticks(workload, settings, extras)) as advance,
        ThreadPoolExecutor(len(targets)) as pool,
    ):

        def tick(count: int) -> None:
            if stopped.is_set():
                raise CancelledError
            with lock:
                for _ in range(count):
                    advance()

        def run(device: Device) -> Run:
            return run_on(device, workload, settings, extras, tick)

        futures = {device.name: pool.submit(run, device) for device in targets}

        def collect() -> None:
            for name, future in futures.items():
                try:
                    runs[name] = future.result()
                except DeviceError as error:
                    failures[name] = error
                except CancelledError:
                    continue

        try:
            collect()
        except KeyboardInterrupt:
            stopped.set()
            collect()
            if not runs:
                raise
            progress.note("interrupted: what was measured until then is kept")
        finally:
            stopped.set()
    if not runs:
        raise next(iter(failures.values()))
    return Benchmark(
        bundle={
            "name": bundle.name,
            "sha256": sha256((bundle.path / SUMS).read_bytes()).hexdigest(),
            "edgefer_version": str(bundle.manifest["edgefer_version"]),
            "artifacts": {
                a.file: {"format": a.format, "precision": a.precision, "sha256": a.sha256, "bytes": a.bytes}
                for a in bundle.artifacts
            },
        },
        data={"source": workload.source, "samples": workload.samples},
        settings=settings,
        runs=tuple(runs.values()),
        failures=failures,
    )


def _tell_single(bundle: Bundle, progress: Progress) -> None:
    """Artifacts that take one image at a time are measured so.

    Raises:
        UsageError: all are.
    """
    single = [artifact.file for artifact in bundle.artifacts if artifact.batch == 1]
    if len(single) == len(bundle.artifacts):
        raise UsageError(
            f"{bundle.path}: none of its artifacts takes several images at once",
            remedy="Convert with --batch dynamic, or leave out --batch.",
        )
    if single:
        progress.note(f"{', '.join(single)}: takes one image at a time, and is measured so")
