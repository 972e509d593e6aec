"""`requant stats` and `verify`: what is there, and whether it is good."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import IndexWarning
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import BAD_ANSWER, stoppable
from requant.integration.cli.indexing import index_json, print_indexes
from requant.integration.cli.options import (
    READ_HERE,
    AnyCollection,
    AsJson,
    Database,
    ReadPlace,
)
from requant.integration.cli.output import print_json, print_lines, size
from requant.integration.cli.progress import waiting

if TYPE_CHECKING:
    from requant.collection import Collection
    from requant.verification import Stats


_LOSS = {
    "normalised": "vectors whose lengths were lost",
    "lossy": "vectors made from compressed codes; exact scores need embedding again",
    "codes-only": "bits, as vectors of -1 and 1; exact scores need embedding again",
}


@takes_bundles
def stats(
    database: Database,
    collection: AnyCollection = None,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Show the collections of a database: items, sizes, and how far each index has followed.

    --json answers: database, collections (name, dim, metric, items,
    vector_bytes, origins (source, kind, fidelity), indexes (as
    `requant index list`), fields (name, kind, ready), text (tokenizer,
    ready) or null, model (name, revision, dim, prompt, normalised) or null).
    """
    from requant.integration.databases import chosen, shown

    with place.opened(database) as opened:
        found = [each.stats() for each in chosen(opened, collection)]
    if as_json:
        print_json({"database": shown(database), "collections": [*map(_stats_json, found)]})
        return
    if not found:
        print_lines(f"{shown(database)} has no collections yet: fill it with `requant import`.")
    for each in found:
        print_lines(
            f"{each.name}: {each.items:,} items, {each.dim} dimensions, {each.metric}, "
            f"{size(each.vector_bytes)} of float32"
        )
        for origin in each.origins:
            told = _LOSS.get(origin.fidelity, "the float32 vectors as they were")
            print_lines(f"  from {origin.source} ({origin.kind}): {told}")
        if each.model:
            prompt = f", prompt {each.model.prompt!r}" if each.model.prompt else ""
            print_lines(f"  texts by {each.model.shown}{prompt}")
        if each.text:
            whole = "" if each.text.ready else " (not ready)"
            print_lines(f"  full text: {each.text.tokenizer}{whole}")
        if each.fields:
            names = (f"{one.name}{'' if one.ready else ' (not ready)'}" for one in each.fields)
            print_lines(f"  indexed fields: {', '.join(names)}")
        if each.indexes:
            print_indexes(each.indexes, each.vector_bytes)
        else:
            print_lines("  no index: searches are exact")


@takes_bundles
def verify(
    database: Database,
    collection: AnyCollection = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also check every stored vector's checksum, the lists of indexed fields, and the "
            "database file.",
        ),
    ] = False,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Compare every index with the store, code by code; exit with 1 if one is wrong.

    Next, if there are problems: `requant index rebuild` makes an index anew
    from the stored vectors.

    --json answers: database, ok, collections (name, ok, checked, problems).
    """
    from requant.integration.databases import chosen, shown

    with stoppable("nothing was changed"), place.opened(database) as opened:
        reports = [_verified(each, deep) for each in chosen(opened, collection)]
    ok = all(report["ok"] for report in reports)
    if as_json:
        print_json({"database": shown(database), "ok": ok, "collections": reports})
    else:
        for report in reports:
            _tell(report)
        print_lines("ok" if ok else "not ok")
    if not ok:
        raise typer.Exit(BAD_ANSWER)


def _stats_json(stats: Stats) -> dict[str, Any]:
    return {
        "name": stats.name,
        "dim": stats.dim,
        "metric": stats.metric,
        "items": stats.items,
        "vector_bytes": stats.vector_bytes,
        "origins": [asdict(origin) for origin in stats.origins],
        "indexes": [index_json(info) for info in stats.indexes],
        "fields": [asdict(field) for field in stats.fields],
        "text": None if stats.text is None else asdict(stats.text),
        "model": None if stats.model is None else asdict(stats.model),
    }


def _verified(collection: Collection, deep: bool) -> dict[str, Any]:
    """Verify a collection; an index that had to be made anew meanwhile is a problem, too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IndexWarning)
        with waiting(f"verifying {collection.name}"):
            report = collection.verify(deep=deep)
    remade = [str(w.message) for w in caught if issubclass(w.category, IndexWarning)]
    problems = [*remade, *report.problems]
    return {
        "name": collection.name,
        "ok": not problems,
        "checked": report.checked,
        "problems": problems,
    }


def _tell(report: dict[str, Any]) -> None:
    print_lines(f"{report['name']}:")
    print_lines(*(f"  checked {line}" for line in report["checked"]))
    print_lines(*(f"  problem: {line}" for line in report["problems"]))
