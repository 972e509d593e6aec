"""Running the command line: in this process for answers, in another for how it ends."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from typer.testing import CliRunner

from requant.integration.cli import app

WORDNET = Path(__file__).parents[1] / "examples" / "wordnet"
COMMAND = [sys.executable, "-m", "requant.integration.cli"]


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as JSON, which fails if anything else is on it."""
        return json.loads(self.out)


def run(*args: object, code: int = 0) -> Ran:
    """Run a command in this process and expect its exit code."""
    result = _runner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return Ran(result.exit_code, result.stdout, result.stderr)


def _runner() -> CliRunner:
    # Click before 8.2 has to be told to keep stderr apart.
    apart = "mix_stderr" in inspect.signature(CliRunner).parameters
    return CliRunner(**{"mix_stderr": False} if apart else {})


def refused(*args: object, code: int = 2) -> str:
    """Run a command that is to fail; return its error, the only line of all it writes.

    With --json it says the same as an object.
    """
    result = run(*args, code=code)
    if "--json" not in args:
        return only_error(result)
    told = result.json
    assert (set(told), told["code"]) == ({"error", "type", "code"}, code)
    return only_error(Ran(code, "", result.err))


def only_error(result: Ran) -> str:
    """Return the one line of error after checking that nothing else was written."""
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    return line


def spawn(*args: object, cwd: Path | None = None, **env: str) -> Ran:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, args)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, **env},
        timeout=60,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def floats(n: int, d: int = 4, seed: int = 0) -> np.ndarray:
    """Return `(n, d)` normally distributed numbers."""
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def npy(path: Path, array: Any) -> Path:
    """Save an array."""
    np.save(path, array)
    return path


def jsonl(path: Path, rows: list[Any]) -> Path:
    """Save rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def documented_keys(*command: str) -> set[str]:
    """Return the outermost keys of a command's JSON that its help names."""
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    answers = found.help.split("--json answers:")[1].split(".")[0]
    while re.search(r"\([^()]*\)", answers):
        answers = re.sub(r"\([^()]*\)", "", answers)
    return {key.strip() for key in answers.split(",")}
