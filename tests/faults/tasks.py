"""What a child under the shim is told to do, and the one that does it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
DIM = 16
FIRST = list(range(120))
MORE = list(range(100, 140))
OPEN, READ, WRITE, SYNC, RENAME, TRUNCATE, UNLINK, MKDIR = (1 << bit for bit in range(8))
EVERY = 255
# What a full disk refuses.
GROWING = OPEN | WRITE | SYNC | RENAME | MKDIR


@dataclass(frozen=True)
class Task:
    """One thing to do to a database at `home`, and the operation that fails: none for n = 0."""

    home: str
    what: str
    index: dict[str, Any]
    target: dict[str, Any] = field(default_factory=dict)
    format: str = ""
    n: int = 0
    errno: int = 0
    for_ever: bool = False
    kinds: int = EVERY

    @property
    def path(self) -> Path:
        return Path(self.home) / "notes.requant"

    @property
    def export(self) -> Path:
        return Path(self.home) / "out" / "target"


def compile_shim(folder: Path) -> Path:
    """Compile the shim, or skip where there is no compiler or nothing to preload into."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    target = folder / "shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", target, HERE / "shim.c"]
    subprocess.run([*map(str, command), "-ldl", "-lpthread"], check=True)
    return target


def start_child(shim: Path, root: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a module of the tests under the shim, which looks at what is below `root`."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "REQUANT_SHIM_ROOT": str(root.resolve()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=HERE.parent.parent,
    )


class Child:
    """A server of tasks under the shim."""

    def __init__(self, shim: Path, root: Path, *arguments: str) -> None:
        """Start it."""
        self.process = start_child(shim, root, "tests.faults.child", *arguments)

    def run(self, task: Task) -> dict[str, Any]:
        """Run one task and return what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(asdict(task)), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "broken" not in answer, answer["broken"]
        return answer

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.stdout.close()  # type: ignore[union-attr]
        self.process.wait(30)
