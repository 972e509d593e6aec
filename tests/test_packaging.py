"""The sdist and the wheel: they build, hold all of the package and nothing else, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"adapters", "quantizers", "integration"}


def run(*command, **options):
    """Run a command; what it says is shown if it fails."""
    parts = [str(part) for part in command]
    done = subprocess.run(parts, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tree():
    """Every file that is, or is about to be, under version control."""
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT)
    paths = (Path(name) for name in listed.split("\0") if name)
    return sorted(path for path in paths if (ROOT / path).is_symlink() or (ROOT / path).exists())


def modules():
    """Where every module of the tree belongs in the wheel."""
    found = set()
    for path in tree():
        if path.suffix == ".py" and path.parts[0] in ROOMS:
            found.add(("requant" / path).as_posix())
        elif path.suffix == ".py" and path.parts[0] in ("requant", "haystack_integrations"):
            found.add(path.as_posix())
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with sdist and wheel, built from a copy of the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for path in tree():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy / path, follow_symlinks=False)
    # With the setuptools that is here, if it is new enough; else in an environment of its own.
    here = int(version("setuptools").split(".")[0]) >= 77
    run(sys.executable, "-m", "build", *(["--no-isolation"] if here else []), copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_every_module_and_no_test(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if name.endswith(".py")} == modules()
    assert "requant/py.typed" in names
    others = {name for name in names if not name.endswith(".py")} - {"requant/py.typed"}
    assert all(name.split("/")[0].endswith(".dist-info") for name in others)
    assert any(name.endswith("licenses/LICENSE") for name in others)


def test_the_sdist_holds_what_tests_and_examples_need(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        path.as_posix()
        for path in tree()
        if path.parts[0] in {"tests", "examples", "benchmarks", "quantizers", "adapters"}
    }
    assert wanted <= names
    assert {"LICENSE", "pyproject.toml", "Makefile"} <= names


IMPORT_ALL = """
import sys
from importlib import import_module
import requant
assert requant.__file__.startswith(sys.argv[1]), requant.__file__
for name in sys.argv[2:]:
    module = import_module(name)
    assert module.__file__.startswith(sys.argv[1]), module.__file__
with requant.open(":memory:") as db:
    notes = db.create_collection("notes", 2)
    notes.upsert(["a", "b"], [[1, 0], [0, 1]])
    notes.add_index("main", engine="usearch")
    assert notes.search([1, 0.1], k=1)[0].id == "a"
"""


def test_the_wheel_runs_in_an_empty_environment(wheel, tmp_path):
    """Its dependencies come from here, by PYTHONPATH, which does not see editable packages."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--no-deps", "--no-index", wheel)
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    home = tmp_path / "env" / "lib"
    names = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in modules()
        if not name.endswith("__main__.py")
    }
    run(python, "-c", IMPORT_ALL, home, *sorted(names), cwd=tmp_path, env=environment)
    told = run(tmp_path / "env" / "bin" / "requant", "--version", cwd=tmp_path, env=environment)
    assert version("requant") in told


@pytest.mark.parametrize("name", ["langchain", "llama-index", "haystack"])
def test_what_frameworks_await_comes_with_their_extra(wheel, name):
    """greenlet, which SQLAlchemy brings along on some machines and releases only."""
    with zipfile.ZipFile(wheel) as archive:
        (about,) = (one for one in archive.namelist() if one.endswith("METADATA"))
        needed = archive.read(about).decode().replace('"', "'")
    line = rf"Requires-Dist: (requant\[async\]|greenlet\S*); extra == '{name}'"
    assert re.search(line, needed), name
