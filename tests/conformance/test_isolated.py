"""Processes that adapters start run nothing that lies in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from usearch.index import Index

from requant.adapters import isolated
from requant.adapters.usearch import UsearchBackend
from requant.testing.data import code_spec, make_codes, make_keys

AFTER_USEARCH = """
import os, sys
import usearch.index
from requant.adapters.faiss import FaissBackend, child_process
from requant.adapters.protocol import IndexSpec
from requant.testing.data import code_spec, make_codes
assert child_process.is_needed()
spec = IndexSpec(code_spec("native", 64), "l2")
sample = make_codes(spec.code, 300)
os.chdir(sys.argv[1])
FaissBackend.create(spec, sample=sample)
"""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with modules that leave a mark when they are imported."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in ("numpy", "faiss", "usearch", "requant", "json", "subprocess"):
        code = f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        (folder / f"{name}.py").write_text(code)
    return folder


def sprung(trap: Path) -> bool:
    """Whether one of them was."""
    return trap.with_name("sprung").exists()


def test_the_trap_works(trap):
    done = subprocess.run([sys.executable, "-c", "import numpy"], cwd=trap)
    assert done.returncode == 9
    assert sprung(trap)


@pytest.mark.parametrize("more", ["", os.pathsep], ids=["path", "path with an empty entry"])
def test_what_faiss_makes_in_a_child(trap, tmp_path, more):
    known = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"PYTHONPATH": known + more}
    done = subprocess.run(
        [sys.executable, "-c", AFTER_USEARCH, str(trap)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not sprung(trap)


def test_a_usearch_file_is_tried_in_a_child(trap, monkeypatch):
    code = code_spec("float32", 8)
    index = Index(ndim=8, metric="ip", dtype="f32")
    index.add(make_keys(20), make_codes(code, 20))
    index.save(str(trap / "index.usearch"))
    monkeypatch.chdir(trap)
    # A relative path, too, is found by a child that stands elsewhere.
    foreign = UsearchBackend.attach("index.usearch", {})
    assert len(foreign) == 20
    foreign.close()
    assert not sprung(trap)


def test_a_child_finds_what_this_process_finds(trap, monkeypatch, tmp_path):
    (tmp_path / "only_here.py").write_text("found = 'yes'")
    monkeypatch.chdir(trap)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", str(trap))
    code = "import os, numpy, only_here; print(only_here.found, os.getcwd())"
    done = isolated.run(code, seconds=60)
    assert done.returncode == 0, done.stderr
    said, _, stands = done.stdout.decode().strip().partition(" ")
    assert said == "yes"
    assert Path(stands) != trap
    assert not sprung(trap)
