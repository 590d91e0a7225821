"""A program called ssh that runs the remote command with this machine's shell, in a home of its own."""

import shlex
import stat
import sys

SCRIPT = """\
#!{python}
import json, os, sys
arguments = sys.argv[1:]
with open({log}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
{before}
command = arguments[arguments.index("--") + 2]
os.environ["HOME"] = {home}
os.chdir({home})
{fault}
os.execv("/bin/sh", ["sh", "-c", command])
"""


def install(folder, home, fault="", before=""):
    """Write it into `folder`; `before` and `fault` are Python that runs before and where the command would."""
    home.mkdir(parents=True, exist_ok=True)
    python = home / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
    folder.mkdir(exist_ok=True)
    program, log = folder / "ssh", folder / "calls.jsonl"
    program.write_text(
        SCRIPT.format(python=sys.executable, log=repr(str(log)), home=repr(str(home)), fault=fault, before=before)
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return log
