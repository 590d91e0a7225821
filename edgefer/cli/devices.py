"""`edgefer devices`."""

from __future__ import annotations

from dataclasses import asdict, replace

import click

from edgefer.cli.output import Console, echo, output_options, table
from edgefer.device.registry import add_device, find_device, registry_file, remove_device
from edgefer.device.registry import devices as all_devices
from edgefer.device.session import Session
from edgefer.device.setup import DEFAULT, RUNTIMES, set_up
from edgefer.device.target import Device
from edgefer.host.text import printable
from edgefer.host.units import format_size


@click.group(
    epilog="""\b
Examples:
  edgefer devices add pi5 pi@192.168.1.20
  edgefer devices setup pi5
  edgefer benchmark fer_b0_bundle --device pi5
"""
)
def devices() -> None:
    """Boards to measure on: name them, prepare them, and leave them as they were."""


@devices.command(
    epilog="""\b
Examples:
  edgefer devices add pi5 pi@192.168.1.20
  edgefer devices add lab pi@lab-pi:2222 --identity ~/.ssh/lab --python /opt/venv/bin/python
"""
)
@click.argument("name")
@click.argument("address", metavar="USER@HOST[:PORT]")
@click.option("--identity", default="", metavar="FILE", help="Private key to log in with; OpenSSH's choice by default.")
@click.option("--known-hosts", default="", metavar="FILE", help="Where the board's host key is; OpenSSH's by default.")
@click.option("--python", default="", metavar="PATH", help="Interpreter on the board that has numpy and a runtime.")
@click.option("--emulated", is_flag=True, help="Its times mean nothing; label it so.")
@output_options
def add(
    name: str,
    address: str,
    identity: str,
    known_hosts: str,
    python: str,
    emulated: bool,
    console: Console,
) -> int:
    """Name a board, so that `--device NAME` finds it."""
    device = Device.parse(address, name, identity=identity, known_hosts=known_hosts, python=python)
    device = replace(device, emulated=emulated)
    add_device(device)
    if console.shows():
        echo(f"{name} is {device.address}, in {registry_file()}; prepare it with `edgefer devices setup {name}`")
    console.write_json(asdict(device))
    return 0


@devices.command("list", epilog="Example: edgefer devices list")
@output_options
def list_(console: Console) -> int:
    """List this machine, emulated boards that are up, and the boards that were added."""
    found = all_devices()
    if console.shows():
        rows = [(name, device.address, "EMULATED" if device.emulated else "") for name, device in found.items()]
        echo(table(("device", "address", ""), rows))
    console.write_json([asdict(device) for device in found.values()])
    return 0


@devices.command(epilog="Example: edgefer devices remove pi5")
@click.argument("name")
@output_options
def remove(name: str, console: Console) -> int:
    """Forget a board; what is on it stays until `edgefer devices clean`."""
    remove_device(name)
    console.write_json({"removed": name})
    return 0


@devices.command(epilog="Example: edgefer devices show pi5")
@click.argument("name", metavar="NAME|USER@HOST")
@output_options
def show(name: str, console: Console) -> int:
    """Log in to a device, and tell what it is."""
    device = find_device(name)
    with Session(device) as session:
        facts = {**asdict(device), **session.machine, "emulated": device.emulated or session.machine["emulated"]}
    if console.shows():
        shown = {key: value for key, value in facts.items() if key not in ("features", "packages") and value != ""}
        shown |= {name: version or "not installed" for name, version in facts["packages"].items()}
        width = max(map(len, shown))
        echo("\n".join(f"{key:<{width}}  {printable(str(value))}" for key, value in shown.items()))
    console.write_json(facts)
    return 0


@devices.command(
    epilog="""\b
Examples:
  edgefer devices setup pi5              wheels are fetched here: the board needs no network
  edgefer devices setup pi5 --online     the board fetches them
"""
)
@click.argument("name", metavar="NAME|USER@HOST")
@click.option(
    "--runtime", "runtimes", multiple=True, type=click.Choice(list(RUNTIMES)), help="Install this; repeatable."
)
@click.option("--online", is_flag=True, help="Let the board fetch the wheels itself.")
@output_options
def setup(name: str, runtimes: tuple[str, ...], online: bool, console: Console) -> int:
    """Make a virtual environment with numpy and runtimes on a board."""
    progress = console.progress
    machine = set_up(find_device(name), runtimes or DEFAULT, online=online, progress=progress)
    installed = {package: version for package, version in machine["packages"].items() if version}
    if console.shows():
        echo(f"{name} has " + ", ".join(f"{package} {version}" for package, version in installed.items()))
    console.write_json(machine)
    return 0


@devices.command(epilog="Example: edgefer devices clean pi5")
@click.argument("name", metavar="NAME|USER@HOST")
@output_options
def clean(name: str, console: Console) -> int:
    """Remove all that edgefer put on a device: one directory."""
    with Session(find_device(name)) as session:
        freed = session.request("clean")["bytes"]
        directory = session.machine["directory"]
    if console.shows():
        echo(f"{name}: {printable(directory)} is gone, {format_size(freed)}")
    console.write_json({"directory": directory, "bytes": freed})
    return 0
