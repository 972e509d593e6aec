"""`requant fields`: which fields of the metadata are indexed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import new_app, stoppable
from requant.integration.cli.options import (
    HERE,
    READ_HERE,
    AsJson,
    CollectionName,
    Database,
    Place,
    ReadPlace,
)
from requant.integration.cli.output import print_answer, print_json, print_lines, print_table
from requant.integration.cli.progress import progress

app: typer.Typer = new_app()
_Field = Annotated[
    str, typer.Argument(metavar="FIELD", help="A field of the metadata, as in a filter.")
]


@app.callback()
def _fields() -> None:
    """Index fields of the metadata, so that filters need not look at every item."""


@app.command("list")
@takes_bundles
def list_(
    database: Database,
    collection: CollectionName,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Show the indexed fields of a collection.

    --json answers: collection, fields (name, kind, ready).
    """
    with place.opened(database) as opened:
        found = opened.collection(collection).fields
    if as_json:
        print_json({"collection": collection, "fields": [asdict(each) for each in found]})
    elif found:
        rows = ((each.name, each.kind, "yes" if each.ready else "no") for each in found)
        print_table(("field", "kind", "ready"), rows)
    else:
        print_lines(
            f"Collection {collection!r} has no indexed field.",
            f"Next: requant fields add {database} {collection} FIELD{place.words}",
        )


@app.command("add")
@takes_bundles
def add(
    database: Database,
    collection: CollectionName,
    field: _Field,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="datetime",
            help="datetime: texts in ISO 8601 are compared as instants.",
        ),
    ] = None,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Index a field, while others read and write.

    --json answers: collection, field, kind.
    """
    with place.opened(database) as opened:
        target = opened.collection(collection)
        left = "filters do not use the field yet, and what has been gone through stays"
        with stoppable(left), progress(f"indexing {field}") as advance:
            target.index_field(field, kind=kind, progress=advance)
    print_answer(
        as_json,
        {"collection": collection, "field": field, "kind": kind},
        f"Filters on {field!r} use its index.",
    )


@app.command("remove")
@takes_bundles
def remove(
    database: Database,
    collection: CollectionName,
    field: _Field,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Forget that a field was indexed; filters on it answer as before.

    --json answers: collection, removed.
    """
    with place.opened(database) as opened:
        opened.collection(collection).unindex_field(field)
    print_answer(
        as_json,
        {"collection": collection, "removed": field},
        f"Field {field!r} is not indexed any more.",
    )
