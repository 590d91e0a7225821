"""The agent: what runs on the board, in one file that needs Python 3.9, numpy and a runtime, no more.

It is sent over the connection and never installed.  All that it stores lies in one directory.

Requests come as one JSON line each on standard input; an upload's bytes follow its line.  Each is answered by any
number of lines {"event": ...} and then one {"reply": ...} or {"error": {"kind": ..., "message": ...}}.  Empty lines
are signs of life.  Whoever measures is a worker, a process of its own: its memory is the artifact's, and if it is
killed the agent lives to tell.  When the other end goes, or is silent for a minute, worker and agent end.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

SOURCE: str = globals().get("SOURCE", "")
"""This file's text, put here by what started it: workers are started from it."""

PROTOCOL = 1
LEASE_S = 60.0
SAMPLE_S = 1.0
SAMPLE_COST = 25
"""What was sampled is left alone for so many times as long, at least, as sampling took."""
TELL_S = 0.5
BLOCK = 1 << 18
CPU = Path("/sys/devices/system/cpu")
MARK = 0x5EED0000
"""armstat takes a snapshot of its counters when a file descriptor of this number, plus a small one, is closed."""
SETTINGS = {"PYTHONHASHSEED": "0", "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A worker's environment: the same instructions every time, no report to anyone, no threads but the runtime's."""
RUNTIMES = {
    "tflite": (("ai-edge-litert", "ai_edge_litert.interpreter"), ("tflite-runtime", "tflite_runtime.interpreter")),
    "onnx": (("onnxruntime", "onnxruntime"),),
}


class RefusedError(Exception):
    """What the other end asked for cannot be done; `kind` is for programs, or the runtime that refused the model."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class GoneError(Exception):
    """The other end is no longer there."""


def serve() -> int:
    """Answer requests until the other end goes."""
    sys.path[:] = [entry for entry in sys.path if entry]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    signal.signal(signal.SIGHUP, _leave)
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.suppress(GoneError, BrokenPipeError):
        agent = Agent(Requests(0), tell)
        while True:
            request = json.loads(agent.requests.line())
            try:
                tell({"reply": getattr(agent, "do_" + request.pop("do"))(**request)})
            except RefusedError as error:
                tell({"error": {"kind": error.kind, "message": str(error)}})
            except OSError as error:
                kind = "disk" if error.errno in (28, 122) else "system"  # ENOSPC, EDQUOT
                tell({"error": {"kind": kind, "message": str(error)}})
    return 0


class Requests:
    """Standard input, from an end that must not be silent for longer than the lease."""

    def __init__(self, descriptor: int, lease: float = LEASE_S) -> None:
        self.descriptor = descriptor
        self.lease = lease
        self._buffer = b""
        self._heard = time.monotonic()

    def line(self) -> bytes:
        """The next line that is not empty."""
        while True:
            line, end, rest = self._buffer.partition(b"\n")
            if not end:
                self.listen(self.lease)
                continue
            self._buffer = rest
            if line:
                return line

    def exactly(self, count: int) -> Iterator[bytes]:
        """The `count` bytes that follow a line, as they arrive."""
        while count:
            while not self._buffer:
                self.listen(self.lease)
            found, self._buffer = self._buffer[:count], self._buffer[count:]
            count -= len(found)
            yield found

    def listen(self, seconds: float) -> None:
        """Take in what arrives, waiting for it as long as given."""
        if select.select([self.descriptor], [], [], seconds)[0]:
            data = os.read(self.descriptor, BLOCK)
            if not data:
                raise GoneError
            self._buffer += data
            self._heard = time.monotonic()
        if time.monotonic() - self._heard >= self.lease:
            raise GoneError


class Agent:
    """One method per request."""

    def __init__(self, requests: Requests, tell: Callable[[dict[str, Any]], None]) -> None:
        self.requests = requests
        self.tell = tell
        self.root = Path()

    def do_hello(self, directory: str) -> dict[str, Any]:
        """What this machine is; `directory` is where everything is kept, relative to home."""
        self.root = Path.home() / directory
        return {"protocol": PROTOCOL, "directory": str(self.root), **describe_machine(self.root)}

    def do_look(self) -> dict[str, Any]:
        """The machine's conditions now."""
        return conditions()

    def do_offer(self, sha256: str, bytes: int) -> dict[str, Any]:
        """How many bytes of a file are here already; a whole one is read again before it is trusted."""
        path = self._path(sha256)
        if path.exists():
            if path.stat().st_size == bytes and _digest(path) == sha256:
                return {"have": bytes}
            path.unlink()
        part = path.with_suffix(".part")
        have = part.stat().st_size if part.exists() else 0
        if have >= bytes:
            part.unlink()
            have = 0
        return {"have": have}

    def do_put(self, sha256: str, offset: int, bytes: int, last: bool) -> dict[str, Any]:
        """Append bytes to a file, and with the last of them compare its digest."""
        path = self._path(sha256)
        part = path.with_suffix(".part")
        data = b"".join(self.requests.exactly(bytes))
        try:
            with part.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(data)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if last:
            if _digest(part) != sha256:
                part.unlink()
                raise RefusedError("corrupt", "what arrived has another SHA-256")
            part.replace(path)
        return {}

    def do_measure(self, kind: str = "measure", **work: Any) -> dict[str, Any]:
        """Run a worker; the machine's conditions are sampled meanwhile."""
        before, jump = conditions(), time.time() - time.monotonic()
        timeline: list[dict[str, Any]] = []
        begun = time.monotonic()

        def sample() -> None:
            timeline.append({"t_s": round(time.monotonic() - begun, 3), **conditions()})
            self.tell({"event": "alive"})

        result = self._work(kind, work, sample)
        jump = time.time() - time.monotonic() - jump
        result["begun_s"] -= begun
        return {**result, "conditions": {"before": before, "after": conditions(), "timeline": timeline}, "jump_s": jump}

    def do_count(self, **work: Any) -> dict[str, Any]:
        """Run a worker that counts the instructions of inferences; its snapshots are lines of JSON."""
        return self._counted("count", work)

    def do_operators(self, counted: bool, **work: Any) -> dict[str, Any]:
        """Run a worker that compares many small files, by time or by instructions."""
        return self._counted("operators", work) if counted else self._work("operators", work, self._alive)

    def do_run(self, **work: Any) -> Any:
        """Run a worker with a program that was brought, which sees to the machine's conditions itself."""
        return self._work("program", work, self._alive)

    def do_install(
        self, wheels: list[dict[str, str]], pip: str, requirements: list[str], online: bool
    ) -> dict[str, Any]:
        """Make the virtual environment; from `wheels` ({"name", "sha256"}), or from the network if `online`.

        pip itself comes as a wheel, which runs without being installed.
        """
        fresh, store, place = self.root / "venv.new", self.root / "wheels", self.root / "venv"
        for path in (fresh, store):
            shutil.rmtree(path, ignore_errors=True)
        store.mkdir(parents=True)
        try:
            for wheel in wheels:
                name = wheel["name"]
                if Path(name).name != name or not name.endswith(".whl"):
                    raise RefusedError("name", f"not the name of a wheel: {name!r}")
                os.link(self._path(wheel["sha256"]), store / name)
            self._command([sys.executable, "-m", "venv", "--without-pip", str(fresh)])
            offline = [] if online else ["--no-index", "--find-links", str(store)]
            install = [
                "install",
                "--only-binary=:all:",
                "--no-compile",
                "--no-cache-dir",
                "--disable-pip-version-check",
            ]
            self._command([str(fresh / "bin" / "python"), str(store / pip / "pip"), *install, *offline, *requirements])
            shutil.rmtree(place, ignore_errors=True)
            fresh.rename(place)
            return {"python": str(place / "bin" / "python")}
        finally:
            for path in (fresh, store):
                shutil.rmtree(path, ignore_errors=True)

    def do_clean(self) -> dict[str, Any]:
        """Remove all that is kept here."""
        size = sum(path.lstat().st_size for path in self.root.rglob("*") if path.is_file())
        if self.root.exists():
            shutil.rmtree(self.root)
        return {"bytes": size}

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise RefusedError("name", f"not a SHA-256: {digest!r}")
        files = self.root / "files"
        files.mkdir(parents=True, exist_ok=True)
        return files / digest

    def _counted(self, kind: str, work: dict[str, Any]) -> dict[str, Any]:
        if shutil.which("armstat") is None:
            raise RefusedError("no armstat", "armstat is not on this board: only emulated boards count instructions")
        handle, log = tempfile.mkstemp(dir=self.root)
        os.close(handle)
        try:
            result = self._work(kind, work, self._alive, ["armstat"], log)
            return {**result, "snapshots": Path(log).read_text("ascii")}
        finally:
            Path(log).unlink()

    def _alive(self) -> None:
        self.tell({"event": "alive"})

    def _work(
        self, kind: str, work: dict[str, Any], sample: Callable[[], None], prefix: Sequence[str] = (), log: str = ""
    ) -> Any:
        """The result of a worker; `paths` of its work are of files that were uploaded, by their SHA-256."""
        paths = {key: str(self._path(digest)) for key, digest in work["paths"].items()}
        environ = {**os.environ, **SETTINGS, "INSN_OUT": log}
        lines: list[dict[str, Any]] = []

        def take(line: bytes) -> None:
            message = json.loads(line)
            if "event" in message:
                self.tell(message)
            else:
                lines.append(message)

        first = (json.dumps({**work, "do": kind, "paths": paths}) + "\n").encode()
        code, errors = self._supervise([*prefix, sys.executable, "-c", SOURCE, "worker"], first, environ, take, sample)
        if code == -signal.SIGKILL:
            raise RefusedError("killed", "it was killed by SIGKILL")
        if not lines:
            raise RefusedError("failed", f"ended with code {code}: {errors or 'it said nothing'}")
        if "error" in lines[-1]:
            raise RefusedError(lines[-1]["error"]["kind"], lines[-1]["error"]["message"])
        return lines[-1]["result"]

    def _command(self, command: list[str]) -> None:
        said: list[bytes] = []
        environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        code, errors = self._supervise(command, b"", environ, said.append, self._alive)
        if code:
            last = b" ".join(said[-3:]).decode("utf-8", "replace")
            raise RefusedError("install", f"ended with code {code}: {errors or last}")

    def _supervise(
        self,
        command: list[str],
        first: bytes,
        environ: dict[str, str],
        take: Callable[[bytes], None],
        sample: Callable[[], None],
    ) -> tuple[int, str]:
        """Run a process in a group of its own that does not outlive this call; its code, and what it said last."""
        pipe = subprocess.PIPE
        with (
            tempfile.TemporaryFile(dir=self.root) as errors,
            subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, env=environ, start_new_session=True
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(first)
                process.stdin.flush()
                self._listen(process.stdout.fileno(), take, sample)
                process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            errors.seek(max(errors.tell() - 4000, 0))
            text = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
            return process.returncode, " | ".join(text[-3:])

    def _listen(self, output: int, take: Callable[[bytes], None], sample: Callable[[], None]) -> None:
        """Until a process closes its output, hear it, the other end, and the machine."""
        rest, due = b"", 0.0
        while True:
            ready = select.select([output, self.requests.descriptor], [], [], max(0.0, due - time.monotonic()))[0]
            self.requests.listen(0)
            begun = time.monotonic()
            if begun >= due:
                sample()
                due = begun + max(SAMPLE_S, SAMPLE_COST * (time.monotonic() - begun))
            if output in ready:
                data = os.read(output, BLOCK)
                if not data:
                    return
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    take(line)


def describe_machine(root: Path) -> dict[str, Any]:
    """Facts about this machine, as plain data."""
    existing = next(path for path in (root, *root.parents) if path.is_dir())
    return {
        "machine": platform.machine(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "kernel": " ".join((platform.system(), platform.release())),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "executable": sys.executable,
        "model": (_text(Path("/sys/firmware/devicetree/base/model")) or "").strip("\0") or None,
        "cpu": cpu_name(),
        "features": sorted(set(_cpuinfo("Features").split() + _cpuinfo("flags").split())),
        "cores": os.cpu_count(),
        "emulated": "QEMU_CPU" in os.environ or shutil.which("armstat") is not None,
        "armstat": shutil.which("armstat") is not None,
        "cpu_lists": all(_text(CPU / name) for name in ("possible", "present")),
        "free_bytes": shutil.disk_usage(existing).free,
        "writable": os.access(existing, os.W_OK | os.X_OK),
        "packages": {name: _version(name) for name in ("numpy", *(d for r in RUNTIMES.values() for d, _ in r))},
    }


def conditions() -> dict[str, Any]:
    """Temperature, clock, governor and the throttling flags now; None for what the machine does not tell."""
    clocks = [int(c) for c in map(_text, CPU.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")) if c and c.isdigit()]
    return {
        "temperature_c": temperature(),
        "clock_hz": max(clocks) * 1000 if clocks else None,
        "governor": _text(CPU / "cpu0/cpufreq/scaling_governor"),
        "throttled": throttled(),
    }


def temperature() -> float | None:
    """Degrees Celsius of the processor: the zone that names it, else the hottest."""
    found = {}
    for zone in Path("/sys/class/thermal").glob("thermal_zone*"):
        with contextlib.suppress(ValueError):
            found[_text(zone / "type") or zone.name] = int(_text(zone / "temp") or "") / 1000
    named = [degrees for name, degrees in found.items() if "cpu" in name or "x86_pkg" in name or "soc" in name]
    return max(named or found.values(), default=None)


def throttled() -> str | None:
    """The firmware's flags as hexadecimal text: bits 0 to 3 now, 16 to 19 since boot; Raspberry Pi only."""
    flags = _text(Path("/sys/devices/platform/soc/soc:firmware/get_throttled"))
    if flags:
        return hex(int(flags, 16))
    if shutil.which("vcgencmd") is None:
        return None
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=10, check=False)
        return hex(int(done.stdout.strip().rpartition("=")[2], 16))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def cpu_name() -> str | None:
    """`Cortex-A72`, as the kernel's part number says, or the processor's own name."""
    cores = {"0xd03": "A53", "0xd04": "A35", "0xd05": "A55", "0xd07": "A57", "0xd08": "A72", "0xd09": "A73"}
    cores.update({"0xd0a": "A75", "0xd0b": "A76", "0xd0d": "A77", "0xd41": "A78"})
    part = _cpuinfo("CPU part")
    return "Cortex-" + cores[part] if part in cores else _cpuinfo("model name") or part or None


def work() -> int:
    """Be a worker: one request on standard input, one result on standard output, and an end when the agent ends."""
    sys.path[:] = [entry for entry in sys.path if entry]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_agent, daemon=True).start()

    def tell(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        kinds: dict[str, Callable[..., Any]] = {
            "measure": measure,
            "count": count,
            "operators": operators,
            "program": program,
        }
        tell({"result": kinds[request.pop("do")](tell=tell, **request)})
    except RefusedError as error:
        tell({"error": {"kind": error.kind, "message": str(error)}})
    except MemoryError:
        tell({"error": {"kind": "memory", "message": "out of memory"}})
    return 0


def measure(
    tell: Callable[[dict[str, Any]], None],
    paths: dict[str, str],
    format: str,
    threads: int,
    frames: int,
    seconds: float,
    warmup: int,
    fps: float | None,
    outputs: bool,
) -> dict[str, Any]:
    """Time an artifact, and return what it says about the pixels if `outputs`.

    Times are nanoseconds of a clock that no one sets.  `paths` holds `model`; `probe`, which tells whether ONNX
    Runtime's sums saturate; `pixels` (N, h, w, 3), uint8; `crops` (K, H, W, 3), what a camera gives; and `down` (h, H)
    and `across` (w, W), the resampling to network size; and `begins`, of which of the pixels a sequence begins.
    """
    np = _numpy()
    crops, down, across = (np.load(paths[name]) for name in ("crops", "down", "across"))
    clock = time.perf_counter_ns
    runner = open_runner(format, paths["model"], threads, paths["probe"])
    started = clock()
    runner.load()
    load = clock() - started
    runner.feed(resample(crops[0], down, across))
    started = clock()
    runner.invoke()
    first = clock() - started
    for _ in range(warmup):
        runner.invoke()
    preprocess: list[int] = []
    invoke: list[int] = []
    postprocess: list[int] = []
    late, total = 0, len(crops)
    gc.collect()
    gc.disable()
    begun_s = time.monotonic()
    begun = told = wall = clock()
    while len(invoke) < frames or wall - begun < seconds * 1e9:
        if fps:
            ahead = begun + round(len(invoke) * 1e9 / fps) - wall
            if ahead > 0:
                time.sleep(ahead / 1e9)
            elif invoke:
                late += 1
        t0 = clock()
        runner.feed(resample(crops[len(invoke) % total], down, across))
        t1 = clock()
        runner.invoke()
        t2 = clock()
        decide(runner.read())
        wall = clock()
        preprocess.append(t1 - t0)
        invoke.append(t2 - t1)
        postprocess.append(wall - t2)
        if wall - told > TELL_S * 1e9:
            told = wall
            tell({"event": "progress", "share": min(len(invoke) / frames, (wall - begun) / (seconds * 1e9 or 1e-9), 1)})
    gc.enable()
    result = {
        "runtime": runner.runtime,
        "load_ns": load,
        "first_ns": first,
        "begun_s": begun_s,
        "duration_ns": wall - begun,
        "preprocess_ns": preprocess,
        "invoke_ns": invoke,
        "postprocess_ns": postprocess,
        "late_frames": late if fps else None,
        "peak_rss_bytes": peak_rss(),
        "outputs": None,
    }
    if outputs:
        result["outputs"] = _outputs(runner, np.load(paths["pixels"]), set(np.load(paths["begins"]).tolist()), tell)
    return {**result, "nodes": runner.nodes()}


def count(
    tell: Callable[[dict[str, Any]], None], paths: dict[str, str], format: str, inferences: int
) -> dict[str, Any]:
    """Invoke between marks, on one thread, with everything warm."""
    np = _numpy()
    runner = open_runner(format, paths["model"], 1, paths["probe"])
    runner.load()
    runner.feed(np.load(paths["pixels"])[0])
    for _ in range(2):
        runner.invoke()
    gc.collect()
    gc.disable()
    for number in range(inferences):
        mark(number)
        runner.invoke()
    mark(inferences)
    return {"runtime": runner.runtime, "inferences": inferences}


def operators(
    tell: Callable[[dict[str, Any]], None], paths: dict[str, str], groups: list[list[str]], rounds: int
) -> dict[str, Any]:
    """The least nanoseconds that an inference of each TFLite file takes, in groups; those of one are run in turns.

    All on one thread, with everything warm.  Marks 2k and 2k + 1 are around inference k.
    """
    clock = time.perf_counter_ns
    least: list[list[int]] = []
    number = 0
    gc.disable()
    for group in groups:
        runners = {name: open_runner("tflite", paths[name], 1) for name in group}
        times: dict[str, list[int]] = {name: [] for name in group}
        for runner in runners.values():
            runner.load()
            runner.invoke()
        gc.collect()
        for _ in range(rounds):
            for name, runner in runners.items():
                mark(number)
                started = clock()
                runner.invoke()
                times[name].append(clock() - started)
                mark(number + 1)
                number += 2
        least.append([min(times[name]) for name in group])
        tell({"event": "progress", "share": len(least) / len(groups)})
    return {"least_ns": least}


def program(tell: Callable[[dict[str, Any]], None], paths: dict[str, str], **work: Any) -> Any:
    """Run `main` of a file that was brought, as edgefer's own pipeline is; it gets this module."""
    _numpy()
    names: dict[str, Any] = {}
    exec(compile(Path(paths["program"]).read_bytes(), "program", "exec"), names)
    return names["main"](sys.modules["__main__"], tell, paths, **work)


def resample(image: Any, down: Any, across: Any) -> Any:
    """Weighted sums along both axes, width first, each rounded half up to uint8: what edgefer's preprocessing does."""
    for axis, weights in ((1, across), (0, down)):
        flat = image.swapaxes(0, 1) if axis else image
        sums = weights @ flat.reshape(len(flat), -1).astype("float64")
        sums = ((sums + (1 << 21)) / (1 << 22)).clip(0, 255).astype("uint8").reshape(-1, *flat.shape[1:])
        image = sums.swapaxes(0, 1) if axis else sums
    return image


def decide(heads: dict[str, Any]) -> dict[str, int]:
    """The largest value's column of each head, as an app would look for it."""
    return {name: int(values.argmax()) for name, values in heads.items()}


def open_runner(format: str, model: str, threads: int, probe: str = "") -> Tflite | Onnx:
    """A runner of the first runtime for the format that is here, imported but without its model."""
    for name, module in RUNTIMES[format]:
        try:
            imported = __import__(module, fromlist=["x"])
        except ModuleNotFoundError as error:
            if error.name and module.startswith(error.name.split(".")[0]):
                continue
            raise RefusedError("no runtime", f"{name} does not import: {error}") from error
        except Exception as error:  # a broken native library may raise anything
            raise RefusedError("no runtime", f"{name} does not import: {error}") from error
        return (
            Tflite(imported, name, model, threads)
            if format == "tflite"
            else Onnx(imported, name, model, threads, probe)
        )
    names = " or ".join(name for name, _ in RUNTIMES[format])
    raise RefusedError("no runtime", f"{names} is not installed for {sys.executable}")


class Carrying:
    """What a network carries from frame to frame: further inputs, which are what the last outputs were.

    Attributes:
        zeros: what the further inputs are where a sequence begins.
        states: what they are now.
        last: the last frames, as many as a clip has; none where the network looks at one image.
    """

    def __init__(self, shapes: list[Any]) -> None:
        np = _numpy()
        image, *states = ([1 if isinstance(side, str) else int(side) for side in shape] for shape in shapes)
        self.zeros = [np.zeros(shape, np.float32) for shape in states]
        self._frames = image[1] if len(image) == 5 else 0
        self.reset()

    def reset(self) -> None:
        """A sequence begins."""
        self.states = self.zeros
        self._last: list[Any] = []

    def shown(self, pixels: Any) -> Any:
        """What the network reads of a frame: it, or with it those before; the first of a sequence stands for those."""
        if not self._frames or pixels.ndim > 3:
            return pixels[None]
        self._last = [*(self._last or [pixels] * self._frames)[1:], pixels]
        return _numpy().stack(self._last)[None]

    def heads(self, names: list[str], values: list[Any]) -> dict[str, Any]:
        """Heads by name, of all outputs: behind them are the states."""
        count = len(names) - len(self.zeros)
        self.states = values[count:]
        return {name: values[index][0] for index, name in enumerate(names[:count])}


def real(values: Any, scale: float, zero_point: int) -> Any:
    """What integers that an artifact returns stand for, float32."""
    np = _numpy()
    return (values.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)


class Tflite:
    """A TFLite artifact under LiteRT, or under tflite-runtime."""

    def __init__(self, module: Any, name: str, model: str, threads: int) -> None:
        self.runtime = {"name": name, "version": _version(name), "delegate": None}
        self._open = partial(module.Interpreter, model_path=model, num_threads=threads)

    def interpreter(self) -> Any:
        """The model, ready to be invoked."""
        try:
            interpreter = self._open()
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise RefusedError("LiteRT", str(error)) from error
        return interpreter

    def load(self) -> None:
        """Open the model."""
        self._interpreter = self.interpreter()
        inputs = self._interpreter.get_input_details()
        self._inputs = [details["index"] for details in inputs]
        self._carrying = Carrying([details["shape"] for details in inputs])
        self.reset = self._carrying.reset
        self._integers = self._table(inputs[0])
        names = {details["index"]: name for name, details in self._signature().items()}
        self._targets = self._interpreter.get_output_details()
        self._names = [names[details["index"]] for details in self._targets]
        self.invoke = self._interpreter.invoke
        delegated = any(op["op_name"] == "DELEGATE" for op in self._operators(self._interpreter))
        self.runtime["delegate"] = "XNNPACK" if delegated else None

    def size(self) -> tuple[int, int]:
        """Height and width of its input."""
        *_, height, width, _ = self._interpreter.get_input_details()[0]["shape"]
        return int(height), int(width)

    def feed(self, pixels: Any) -> None:
        """Set the inputs: the next frame, and what is carried on."""
        self.feed_batch(self._carrying.shown(pixels))

    def feed_batch(self, pixels: Any) -> None:
        """Set the inputs: images (N, h, w, 3), of which a TFLite artifact takes one, and what is carried on."""
        fed = pixels if self._integers is None else self._integers[pixels]
        for place, array in enumerate([fed, *self._carrying.states]):
            self._interpreter.set_tensor(self._inputs[place], array)

    def read(self) -> dict[str, Any]:
        """Heads by name, of the first image."""
        return self._carrying.heads(self._names, [self._value(details) for details in self._targets])

    def _value(self, details: dict[str, Any]) -> Any:
        values = self._interpreter.get_tensor(details["index"])
        return real(values, *details["quantization"]) if values.dtype == "int8" else values

    @staticmethod
    def _table(details: dict[str, Any]) -> Any:
        """The integer that stands for each pixel, where the artifact takes integers; else None."""
        np = _numpy()
        if details["dtype"] != np.int8:
            return None
        scale, zero_point = details["quantization"]
        return (np.rint(np.arange(256) / scale) + zero_point).clip(-128, 127).astype(np.int8)

    def _signature(self) -> dict[str, Any]:
        outputs: dict[str, Any] = self._interpreter.get_signature_runner().get_output_details()
        return outputs

    def nodes(self) -> dict[str, int] | None:
        """How many operators there are, and how many the delegate takes; each is made a partition to tell."""
        try:
            apart = self._open(experimental_disable_delegate_node_fusion=True)
            total = len(self._operators(apart))
            apart.allocate_tensors()
        except (TypeError, RuntimeError, ValueError):  # an older runtime
            return None
        if not total:
            return None
        operators = self._operators(apart)
        taken = {tuple(op["outputs"]) for op in operators if op["op_name"] == "DELEGATE"}
        left = sum(op["op_name"] != "DELEGATE" and tuple(op["outputs"]) not in taken for op in operators)
        return {"total": total, "delegated": total - left}

    @staticmethod
    def _operators(interpreter: Any) -> list[dict[str, Any]]:
        operators: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
        return [{**op, "outputs": [int(index) for index in op["outputs"]]} for op in operators]


class Onnx:
    """An ONNX artifact under ONNX Runtime."""

    def __init__(self, module: Any, name: str, model: str, threads: int, probe: str) -> None:
        self.runtime = {"name": name, "version": _version(name), "delegate": "CPUExecutionProvider"}
        self._module, self._model, self._threads = module, model, threads
        self._exact = saturates(module, probe)

    def load(self) -> None:
        """Open the model."""
        options = self._module.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        if self._exact:
            options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 4
        try:
            session = self._module.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # pybind11 exceptions of several kinds
            raise RefusedError("ONNX Runtime", str(error)) from error
        self._inputs = [source.name for source in session.get_inputs()]
        self._carrying = Carrying([source.shape for source in session.get_inputs()])
        self.reset = self._carrying.reset
        self._names = [output.name for output in session.get_outputs()]
        self._ends = json.loads(session.get_modelmeta().custom_metadata_map.get("edgefer.io", "{}"))
        self._session = session

    def feed(self, pixels: Any) -> None:
        """Set the inputs: the next frame, and what is carried on."""
        self.feed_batch(self._carrying.shown(pixels))

    def feed_batch(self, pixels: Any) -> None:
        """Set the inputs: images (N, h, w, 3), and what is carried on."""
        fed = [pixels, *self._carrying.states]
        self._feed = {name: fed[place] for place, name in enumerate(self._inputs)}

    def invoke(self) -> None:
        """Run what was fed."""
        self._values = self._session.run(self._names, self._feed)

    def read(self) -> dict[str, Any]:
        """Heads by name, of the first image."""
        return self._carrying.heads(self._names, list(map(self._real, self._names, self._values)))

    def _real(self, name: str, values: Any) -> Any:
        end = self._ends.get(name)
        return values if end is None else real(values, end["scale"], end["zero_point"])

    def nodes(self) -> None:
        """ONNX Runtime's CPU provider takes all."""
        return


def saturates(module: Any, probe: str) -> bool:
    """Whether ONNX Runtime's int8 sums saturate here unless asked not to, or may: `probe` returns its input if not."""
    np = _numpy()
    try:
        options = module.SessionOptions()
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        session = module.InferenceSession(probe, options, providers=["CPUExecutionProvider"])
        feeds = {source.name: np.full(source.shape, 255, np.uint8) for source in session.get_inputs()}
        return any((values != 255).any() for values in session.run(None, feeds))
    except Exception:  # an old runtime; pybind11 exceptions of several kinds
        return True


def mark(number: int) -> None:
    """Let armstat take a snapshot."""
    with contextlib.suppress(OSError):
        os.close(MARK + number)


def peak_rss() -> int:
    """Bytes of this program at its largest; not of what it was started from, as getrusage has it."""
    match = re.search(r"VmHWM:\s+(\d+) kB", _text(Path("/proc/self/status")) or "")
    if match:
        return int(match.group(1)) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _outputs(
    runner: Tflite | Onnx, pixels: Any, begins: set[int], tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """By head, values per image as hexadecimal of float32, little-endian: no digit is lost."""
    heads: dict[str, list[str]] = {}
    told = time.monotonic()
    for index, image in enumerate(pixels):
        if index in begins:
            runner.reset()
        runner.feed(image)
        runner.invoke()
        for name, values in runner.read().items():
            heads.setdefault(name, []).append(values.astype("<f4").tobytes().hex())
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            tell({"event": "alive"})
    return heads


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise RefusedError("no runtime", f"numpy is not installed for {sys.executable}") from error
    return numpy


def _end_with_agent() -> None:
    while os.read(0, BLOCK):
        pass
    os._exit(1)


def _leave(number: int, frame: Any) -> None:
    raise GoneError


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for data in iter(lambda: file.read(BLOCK), b""):
            digest.update(data)
    return digest.hexdigest()


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpuinfo(key: str) -> str:
    lines = (_text(Path("/proc/cpuinfo")) or "").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(work() if sys.argv[1:] == ["worker"] else serve())
