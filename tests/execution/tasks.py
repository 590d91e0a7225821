"""A task that writes down what it does, so that tests see what is done, how often and where."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgefer.errors import InputError
from edgefer.execution import Job


@dataclass(frozen=True)
class Square:
    """Squares numbers, each in three steps; odd ones under `bad` are bad input."""

    log: Path
    files: dict[str, Path]
    pause_s: float = 0.0
    bad: tuple[int, ...] = ()

    def open(self, files):
        factor = int(files["factor"].read_text())

        def perform(number, advance):
            if number in self.bad:
                raise InputError(f"{number}: is no number to square")
            for _ in range(3):
                time.sleep(self.pause_s / 3)
                advance()
            with self.log.open("a") as log:
                log.write(f"{number} {os.getpid()}\n")
            return str(factor * number * number).encode()

        return perform


def square(folder, **options):
    (folder / "factor").write_text("10")
    return Square(folder / "log", {"factor": folder / "factor"}, **options)


def jobs(count):
    return [
        Job(f"key{number}", lambda carried, number=number: number, 3, f"number {number}") for number in range(count)
    ]


def done(folder):
    """Numbers and processes, as they were done."""
    lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    return [tuple(map(int, line.split())) for line in lines]
