"""docs/backends.md is current, and says of the protocol what is true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import requant
from requant.adapters import registry
from requant.adapters.protocol import Backend

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "backends.md"
MAKE = runpy.run_path(str(DOCS / "make_backends.py"))


def test_the_tables_are_current():
    missing = [name for name in registry.names() if not registry.status(name).usable]
    if missing:
        pytest.skip(f"the tables are made where every engine is installed; missing: {missing}")
    assert PAGE.read_text("utf-8") == MAKE["page"](), "run: python docs/make_backends.py"


def test_every_registered_engine_has_its_table():
    page = PAGE.read_text("utf-8")
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert headings == registry.names()


def test_every_method_of_the_protocol_is_told_of():
    page = PAGE.read_text("utf-8")
    for name in vars(Backend):
        if not name.startswith("_") and callable(getattr(Backend, name)):
            assert f"`{name}(" in page, name


def test_every_error_that_it_names_exists():
    for name in set(re.findall(r"`(\w+Error)`", PAGE.read_text("utf-8"))):
        assert issubclass(getattr(requant, name), requant.RequantError)


def test_its_files_and_its_toml_are_right():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    page = PAGE.read_text("utf-8")
    for link in re.findall(r"\]\((\.\./[^)]+)\)", page):
        assert (DOCS / link).exists(), link
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert tomllib.loads(toml.replace("\n   ", "\n"))["project"]["entry-points"]
