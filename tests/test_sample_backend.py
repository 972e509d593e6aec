"""examples/backend: installed as a user would, it passes the suite and is an engine like any."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[1] / "examples" / "backend"
NAME = "sqlite_example"

# What `pip install --target` does, for a setuptools too old to build a wheel on its own.
OLD_SETUPTOOLS = """
import sys
from setuptools import setup
for command in ("install_lib", "install_egg_info"):
    sys.argv[1:] = ["--quiet", command, "--install-dir", TARGET]
    setup()
"""

SEARCH = f"""
import numpy as np
import requant
rng = np.random.default_rng(0)
vectors = rng.normal(size=(200, 16)).astype(np.float32)
with requant.open("notes.requant") as db:
    notes = db.create_collection("notes", dim=16)
    notes.upsert(range(200), vectors)
    notes.add_index("x", engine="{NAME}", precision="int8")
    assert notes.search(vectors[7], k=3)[0].id == 7
    notes.delete([7])
    notes.upsert([200], vectors[7:8])
    assert notes.search(vectors[7], k=3)[0].id == 200
    notes.flush()  # a search does a share of the catching up
with requant.open("notes.requant") as db:
    notes = db.collection("notes")
    (info,) = notes.stats().indexes
    assert (info.engine, info.items) == ("{NAME}", 200)
    assert notes.search(vectors[7], k=3)[0].id == 200
    assert notes.verify().ok
"""


def run(*command, **options):
    """Run a command; what it says is shown if it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a process that finds the sample as an installed package."""
    copy, target = tmp_path_factory.mktemp("sample"), tmp_path_factory.mktemp("installed")
    shutil.copytree(SAMPLE, copy, dirs_exist_ok=True)
    if find_spec("wheel") or int(version("setuptools").split(".")[0]) >= 71:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index")
        run(*pip, "--no-deps", "--no-build-isolation", "--target", target, copy)
    else:
        script = OLD_SETUPTOOLS.replace("TARGET", repr(str(target)))
        run(sys.executable, "-c", script, cwd=copy)
    path = filter(None, [str(target), os.environ.get("PYTHONPATH")])  # this tree, if it is there
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def test_it_passes_the_conformance_suite(environment, tmp_path):
    shutil.copy(SAMPLE / "test_backend.py", tmp_path)
    said = run(
        sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, tmp_path / "test_backend.py",
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert " passed" in said


def test_it_is_registered_and_shown(environment, tmp_path):
    code = "from requant.adapters import registry; print(*registry.names())"
    assert NAME in run(sys.executable, "-c", code, env=environment, cwd=tmp_path).split()
    command = (sys.executable, "-m", "requant.integration.cli", "engines")
    assert f"\n{NAME} (requant-sqlite-example 0.1.0)\n" in run(
        *command, env=environment, cwd=tmp_path
    )
    answer = json.loads(run(*command, "--json", env=environment, cwd=tmp_path))
    (engine,) = (each for each in answer["engines"] if each["name"] == NAME)
    assert engine["usable"] is True
    assert engine["versions"] == {"requant-sqlite-example": "0.1.0"}
    assert engine["capabilities"]["places"] == ["folder"]


def test_a_collection_searches_through_it(environment, tmp_path):
    run(sys.executable, "-c", SEARCH, env=environment, cwd=tmp_path)
