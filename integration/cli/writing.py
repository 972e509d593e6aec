"""`requant update`, `delete` and `drop`: what is stored, changed and removed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from requant.errors import InputError
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import confirm
from requant.integration.cli.options import (
    HERE,
    AsJson,
    CollectionName,
    Database,
    ItemFilter,
    Place,
    SomeIds,
    condition,
)
from requant.integration.cli.output import print_answer

_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@takes_bundles
def update(
    database: Database,
    collection: CollectionName,
    only: ItemFilter,
    ids: SomeIds = None,
    metadata: Annotated[
        str | None,
        typer.Option(
            "--metadata",
            metavar="JSON",
            help='What is merged into the metadata, such as \'{"year": 2024, "draft": null}\'; '
            "null removes a key.",
        ),
    ] = None,
    document: Annotated[
        str | None, typer.Option("--document", metavar="TEXT", help="The text of the one item.")
    ] = None,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Change the metadata of items, by id or by filter; their vectors stay.

    All of them or, on an error, none. An id that is not stored is an error.

    --json answers: collection, updated.
    """
    patch = _patch(metadata)
    where = condition(only.where)
    if patch is None and document is None:
        raise InputError("give --metadata, or --document for one item")
    if document is not None and len(ids or ()) != 1:
        raise InputError("--document is for one ID")
    if bool(ids) == bool(where):
        raise InputError("give either IDs or --where with a filter")
    given: dict[str, Any] = {} if document is None else {"documents": [document]}
    with place.opened(database) as opened:
        target = opened.collection(collection)
        done = target.update(ids or None, where=where, metadata=patch, **given)
    print_answer(
        as_json,
        {"collection": collection, "updated": done},
        f"Updated {done:,} items of collection {collection!r}.",
    )


@takes_bundles
def delete(
    database: Database,
    collection: CollectionName,
    only: ItemFilter,
    ids: SomeIds = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every item; the collection, indexes and fields stay."),
    ] = False,
    yes: _Yes = False,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Remove items by id or by filter; ids that are not stored are no error.

    It asks before, or needs --yes where nobody can answer.

    --json answers: collection, deleted.
    """
    where = condition(only.where)
    if sum(map(bool, (ids, where, everything))) != 1:
        raise InputError("give either IDs, --where with a filter, or --all")
    with place.opened(database) as opened:
        target = opened.collection(collection)
        count = len(ids) if ids else target.count(where)
        confirm(f"Remove {count:,} items of collection {collection!r}?", yes)
        done = target.clear() if everything else target.delete(ids or None, where=where)
    print_answer(
        as_json,
        {"collection": collection, "deleted": done},
        f"Removed {done:,} items of collection {collection!r}.",
    )


@takes_bundles
def drop(
    database: Database,
    collection: CollectionName,
    yes: _Yes = False,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Remove a collection: its items, its vectors and its indexes.

    It asks before, or needs --yes where nobody can answer. `requant delete
    --all` removes the items alone.

    --json answers: database, dropped, items.
    """
    from requant.integration.databases import shown

    with place.opened(database) as opened:
        count = len(opened.collection(collection))
        confirm(f"Drop collection {collection!r} with its {count:,} items?", yes)
        opened.drop_collection(collection)
    print_answer(
        as_json,
        {"database": shown(database), "dropped": collection, "items": count},
        f"Dropped collection {collection!r} with its {count:,} items.",
    )


def _patch(text: str | None) -> Any:
    if text is None:
        return None
    try:
        patch = json.loads(text)
    except ValueError as error:
        raise InputError(f"--metadata is not JSON: {error}") from error
    if not isinstance(patch, dict):
        raise InputError("--metadata is not a JSON object")
    return patch
