"""Which trained network: options of the commands that read one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from edgefer.spec import read_toml


def network_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add --family, --arch, --spec and --weights to a command, which takes them as its `how`, for `load_network`."""

    @wraps(command)
    def with_network(*, family: str | None, arch: str, spec_file: Path | None, weights: str, **others: object) -> int:
        spec = read_toml(spec_file) if spec_file else None
        return command(how={"family": family, "arch": arch, "spec": spec, "weights": weights}, **others)

    for option in (
        click.option(
            "--weights",
            default="",
            metavar="KEY",
            help="Weights to take, where a checkpoint holds several sets: state_dict_ema, say.",
        ),
        click.option(
            "--spec",
            "spec_file",
            type=click.Path(path_type=Path),
            metavar="FILE.toml",
            help="Spec of the network, instead of that in MODEL.spec.toml beside it; what it lacks is as MODEL itself "
            "has it.",
        ),
        click.option("--arch", default="", metavar="NAME", help="Architecture, where a checkpoint does not say it."),
        click.option("--family", metavar="NAME|FILE.py", help="Converter to use; recognised from the file by default."),
    ):
        with_network = option(with_network)
    return with_network
