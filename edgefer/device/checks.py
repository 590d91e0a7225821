"""What a board has and lacks for `benchmark`: `edgefer doctor --device`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from edgefer.device.session import Session
from edgefer.device.setup import check_platform
from edgefer.device.target import Device
from edgefer.device.verdict import HOT_C, is_throttled
from edgefer.errors import DeviceError
from edgefer.host.doctor import Finding
from edgefer.host.text import printable
from edgefer.host.units import format_size

ROOM_BYTES = 200_000_000


def examine_device(device: Device) -> Iterator[Finding]:
    """Run every check on a device, in the order in which a user would mend things."""
    for finding in _examine(device):
        yield replace(finding, detail=printable(finding.detail))


def _examine(device: Device) -> Iterator[Finding]:
    try:
        with Session(device) as session:
            machine, now = session.machine, session.request("look")
    except DeviceError as error:
        yield Finding("connection", "missing", error.message, error.remedy)
        return
    label = "EMULATED " if device.emulated or machine["emulated"] else ""
    yield Finding("connection", "ok", f"{label}{machine['model'] or machine['machine']}, {machine['kernel']}")
    yield _python(device, machine)
    setup = f"edgefer devices setup {device.name}" if device.host else "python -m pip install --force-reinstall edgefer"
    packages = machine["packages"]
    yield _package("numpy", packages["numpy"], setup)
    lite = next((name for name in ("ai-edge-litert", "tflite-runtime") if packages[name]), "ai-edge-litert")
    yield _package(lite, packages[lite], setup)
    yield _package("onnxruntime", packages["onnxruntime"], setup)
    yield _cpu_lists(machine)
    yield _room(device, machine)
    yield from _state(now)


def _python(device: Device, machine: Mapping[str, Any]) -> Finding:
    detail = f"{machine['python']} ({machine['executable']}), {machine['machine']}, {machine['libc']}"
    try:
        check_platform(device, machine)
    except DeviceError as error:
        return Finding("python", "missing", error.message, error.remedy)
    return Finding("python", "ok", detail)


def _package(name: str, version: str | None, setup: str) -> Finding:
    return Finding(name, "ok", version) if version else Finding(name, "missing", "not installed", setup)


def _cpu_lists(machine: Mapping[str, Any]) -> Finding:
    if machine["cpu_lists"]:
        return Finding("CPU lists", "ok", "/sys/devices/system/cpu")
    detail = "/sys/devices/system/cpu cannot be read: LiteRT silently uses other kernels, with other speed"
    return Finding("CPU lists", "warn", detail, "Mount /sys there (read-only is enough).")


def _room(device: Device, machine: Mapping[str, Any]) -> Finding:
    detail = f"{machine['directory']}, {format_size(machine['free_bytes'])} free"
    if not machine["writable"]:
        return Finding("room", "missing", f"{machine['directory']} cannot be written to", "Give its owner the right.")
    if machine["free_bytes"] < ROOM_BYTES:
        return Finding("room", "warn", detail, f"Free some there; `edgefer devices clean {device.name}` removes ours.")
    return Finding("room", "ok", detail)


def _state(now: Mapping[str, Any]) -> Iterator[Finding]:
    if now["temperature_c"] is not None:
        detail = f"{now['temperature_c']:.1f} C"
        hot = now["temperature_c"] >= HOT_C
        yield Finding("temperature", "warn" if hot else "ok", detail, "Let it cool; give it a fan." if hot else "")
    if now["throttled"] is not None:
        slowed = is_throttled(now)
        remedy = "See to its power supply and cooling." if slowed else ""
        yield Finding("throttling", "warn" if slowed else "ok", f"get_throttled {now['throttled']}", remedy)
    if now["governor"] is not None:
        yield Finding("governor", "ok", f"{now['governor']}, {(now['clock_hz'] or 0) / 1e6:.0f} MHz")
