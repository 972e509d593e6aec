"""Python in a process of its own, for what could end this one or be ended by what it has loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# By itself, `python -c` looks for modules in the current folder first: whoever puts a numpy.py
# there would have it run. `-I` does not, nor does it read PYTHONPATH; what it needs is told.
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1))\n"


def run(
    code: str, arguments: Sequence[str] = (), *, given: bytes = b"", seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run `code` with `arguments` as `sys.argv[1:]` and `given` as its input, and wait for it.

    It finds the modules that this process finds, and none in the current folder, in which it does
    not stand either: paths among the arguments are absolute.

    Raises:
        OSError: no process can be started.
        subprocess.TimeoutExpired: it took longer than `seconds`, and was ended.

    >>> run("print(sys.argv[1])", ["hello"], seconds=60).stdout.strip()
    b'hello'
    """
    return subprocess.run(
        [sys.executable, "-I", "-c", _BEGIN + code, json.dumps(_search_path()), *arguments],
        input=given,
        capture_output=True,
        timeout=seconds,
        check=False,
        cwd=Path(sys.executable).parent,
    )


def _search_path() -> list[str]:
    """Return where this process looks for modules, without what depends on the current folder."""
    return [entry for entry in sys.path if isinstance(entry, str) and Path(entry).is_absolute()]
