"""Options that are declared as the fields of a dataclass are options like all others."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from requant.indexes import IndexOptions as LibraryOptions
from requant.indexes import index_config
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.options import IndexOptions

CLI = Path(__file__).parents[1] / "integration" / "cli"
Width = Annotated[int, typer.Option("--width", "-w", min=1, help="How wide.")]


@dataclass(frozen=True)
class Size:
    width: Width = 3
    names: Annotated[list[str] | None, typer.Option("--name", help="Names.")] = None
    round: Annotated[bool | None, typer.Option("--round/--square", help="Shape.")] = None


@dataclass(frozen=True)
class Colour:
    colour: Annotated[str, typer.Option("--colour", help="A colour.")] = "red"


@pytest.fixture
def app():
    app = typer.Typer()
    app.seen = []

    @app.command()
    @takes_bundles
    def make(
        target: Annotated[str, typer.Argument(help="Where.")],
        size: Size,
        needed: Annotated[int, typer.Option("--needed", help="To be given.")],
        colour: Colour,
        last: Annotated[str | None, typer.Option("--last", help="The last.")] = None,
    ) -> None:
        """Make it."""
        app.seen.append((target, size, needed, colour, last))

    return app


def test_each_object_gets_its_own(app):
    words = [
        "there",
        "-w",
        "5",
        "--name",
        "a",
        "--name",
        "b",
        "--square",
        "--needed",
        "1",
        "--colour",
        "blue",
        "--last",
        "z",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert app.seen == [("there", Size(5, ["a", "b"], False), 1, Colour("blue"), "z")]


def test_defaults_are_those_of_the_fields(app):
    assert CliRunner().invoke(app, ["there", "--needed", "1"]).exit_code == 0
    assert app.seen == [("there", Size(), 1, Colour(), None)]


def test_what_is_wrong_is_refused_as_ever(app):
    for words in (["there"], ["there", "--needed", "1", "--width", "0"], ["--needed", "1"]):
        assert CliRunner().invoke(app, words).exit_code == 2
    assert app.seen == []


def test_options_stand_in_the_order_in_which_they_are_written(app):
    command = typer.main.get_command(app)
    names = [parameter.name for parameter in command.params][:7]
    assert names == ["target", "width", "names", "round", "needed", "colour", "last"]
    assert command.help == "Make it."


def test_index_options_are_the_arguments_of_the_library():
    given = IndexOptions(param=["m=16", "name=x"]).arguments()
    assert given["params"] == {"m": 16, "name": "x"}
    arguments = inspect.signature(index_config).parameters
    assert set(given) == set(arguments) == set(LibraryOptions.__annotations__)
    for field in fields(IndexOptions):
        if field.name != "param":
            assert field.default == arguments[field.name].default


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.name)
def test_no_command_is_a_page_long(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
