"""The application: every command, by name."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import requant
from requant.integration.cli import (
    backing_up,
    demo,
    engines,
    exporting,
    fields,
    importing,
    indexing,
    inspecting,
    migrating,
    reading,
    reembedding,
    searching,
    upgrading,
    words,
    writing,
)
from requant.integration.cli.group import new_app

app: typer.Typer = new_app(
    name="requant",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"requant {requant.__version__}")
        raise typer.Exit


@app.callback()
def _requant(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Quantized vector search in your own database, rescored exactly.

    Begin with `requant demo`, or bring your vectors in with `requant import`.

    Exit codes: 0 done; 1 verify or migrate found problems, something is
    damaged, or an import is incomplete; 2 usage or bad input; 130 stopped.

    A filter (--where) is JSON: fields of the metadata with values or
    $eq $ne $gt $gte $lt $lte $in $nin $exists $contains $startswith
    $icontains, joined by $and $or $not; and what an item has beside its
    metadata: $id, $document, $has_vector. As '{"year": {"$gte": 2020}}',
    '{"$document": {"$contains": "quant"}}' or '{"$id": {"$in": ["a", "b"]}}'.

    With --json an error is an object, too: error, type, code.

    REQUANT_TRACEBACK=1 shows where an error came from, REQUANT_LOG=json writes
    progress as JSON lines on stderr. REQUANT_TRUSTED_HOSTS lists the hosts,
    between commas, that are told keys of the environment where a database
    names them, as https://qdrant.example:6333.
    """


app.command("import")(importing.import_)
app.command("export")(exporting.export)
app.command("search")(searching.search)
app.add_typer(indexing.app, name="index")
app.command("migrate")(migrating.migrate)
app.command("rollback")(migrating.rollback)
app.command("shadow")(migrating.shadow)
app.command("reembed")(reembedding.reembed)
app.command("stats")(inspecting.stats)
app.command("verify")(inspecting.verify)
app.command("backup")(backing_up.backup)
app.command("restore")(backing_up.restore)
app.command("upgrade")(upgrading.upgrade)
app.command("get")(reading.get)
app.command("count")(reading.count)
app.command("distinct")(reading.distinct)
app.command("update")(writing.update)
app.command("delete")(writing.delete)
app.command("drop")(writing.drop)
app.add_typer(fields.app, name="fields")
app.add_typer(words.app, name="text")
app.command("engines")(engines.engines)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line: what the script `requant` calls."""
    for name in ("LANCEDB_LOG", "LANCE_LOG"):  # it logs warnings to stderr otherwise
        os.environ.setdefault(name, "error")
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets another, not a UnicodeEncodeError.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="requant")
