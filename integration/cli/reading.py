"""`requant get`, `count` and `distinct`: what is stored, by id or by filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.options import (
    READ_HERE,
    AsJson,
    CollectionName,
    Database,
    ItemFilter,
    ReadPlace,
    SomeIds,
    condition,
)
from requant.integration.cli.output import (
    contents,
    print_answer,
    print_json,
    print_lines,
    print_table,
    readable,
    shortened,
)

if TYPE_CHECKING:
    from requant.store import Item

_Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")]


@takes_bundles
def get(
    database: Database,
    collection: CollectionName,
    only: ItemFilter,
    ids: SomeIds = None,
    limit: _Limit = 100,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ID", help="Begin behind this item: for the next page."),
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="Show the vectors, too.")] = False,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Show items: those of the ids that exist, or those that meet a filter.

    Without ids they come in the order of insertion.

    --json answers: collection, items (id, document, metadata, vector: null
    without --vectors), next (the id for --after, null if there are no more).
    """
    where = condition(only.where)
    with place.opened(database) as opened:
        target = opened.collection(collection)
        found = target.get(ids, where=where, limit=limit + 1, after=after, vectors=vectors)
    more = found[limit - 1].id if len(found) > limit else None
    found = found[:limit]
    if as_json:
        shown = [_item_json(item) for item in found]
        print_json({"collection": collection, "items": shown, "next": more})
        return
    _tell(found)
    if more is not None:
        print_lines(f"There are more: --after {more}")


@takes_bundles
def count(
    database: Database,
    collection: CollectionName,
    only: ItemFilter,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Count the items of a collection, or those that meet a filter.

    --json answers: collection, count.
    """
    where = condition(only.where)
    with place.opened(database) as opened:
        found = opened.collection(collection).count(where)
    print_answer(as_json, {"collection": collection, "count": found}, str(found))


@takes_bundles
def distinct(
    database: Database,
    collection: CollectionName,
    field: Annotated[
        str, typer.Argument(metavar="FIELD", help="A field of the metadata, as in a filter.")
    ],
    only: ItemFilter,
    limit: _Limit = 100,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Show which values a field has, and how many items have each.

    --json answers: collection, field, values (value, count).
    """
    where = condition(only.where)
    with place.opened(database) as opened:
        found = opened.collection(collection).distinct(field, where, limit=limit)
    if as_json:
        values = [{"value": each.value, "count": each.count} for each in found]
        print_json({"collection": collection, "field": field, "values": values})
        return
    if not found:
        print_lines("Nothing found.")
        return
    rows = ((readable({"": each.value})[2:], f"{each.count:,}") for each in found)
    print_table(("value", "items"), rows, right=("items",), wrap=("value",))


def _item_json(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "document": item.document,
        "metadata": item.metadata,
        "vector": None if item.vector is None else item.vector.tolist(),
    }


def _tell(found: list[Item]) -> None:
    if not found:
        print_lines("Nothing found.")
        return
    rows = (
        (
            item.id,
            *contents(item.document, item.metadata),
            "" if item.vector is None else shortened(str(item.vector.tolist()), 60),
        )
        for item in found
    )
    headings = ("id", "document", "metadata", "vector")
    print_table(headings, rows, wrap=headings)
