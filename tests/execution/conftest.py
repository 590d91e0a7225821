"""Dask clusters on the loopback address, of processes that tests can end."""

import os
import subprocess
import sys
import time

import pytest

from tests.evaluation.conftest import tiny  # noqa: F401

DEADLINE_S = 60


class Machines:
    """A scheduler and its workers."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.workers = []
        self.scheduler = self._start("scheduler", "--scheduler-file", self.file, "--host", "127.0.0.1", "--port", "0")
        deadline = time.monotonic() + DEADLINE_S
        while not self.file.exists():
            assert self.scheduler.poll() is None and time.monotonic() < deadline, "no scheduler"
            time.sleep(0.05)

    def worker(self, *options):
        name = f"w{len(self.workers)}"
        here = ("--local-directory", self.folder, "--name", name, "--host", "127.0.0.1")
        options = ("--scheduler-file", self.file, "--no-nanny", "--nthreads", "1", *here, *options)
        self.workers.append(self._start("worker", *options))
        return self.workers[-1]

    def wait(self, count):
        """Until so many workers are there."""
        from distributed import Client

        with Client(scheduler_file=str(self.file)) as client:
            client.wait_for_workers(count, timeout=DEADLINE_S)

    def end(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _start(self, kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *map(str, options)]
        with (self.folder / f"{kind}.log").open("a") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A scheduler and three workers."""
    machines = Machines(tmp_path_factory.mktemp("cluster"))
    for _ in range(3):
        machines.worker()
    machines.wait(3)
    yield machines
    machines.end()


@pytest.fixture
def machines(tmp_path_factory):
    """A scheduler, whose workers the test starts and ends."""
    machines = Machines(tmp_path_factory.mktemp("cluster"))
    yield machines
    machines.end()
