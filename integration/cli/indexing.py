"""`requant index`: add, list, use, drop, rebuild and calibrate indexes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import InputError
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import new_app, stoppable
from requant.integration.cli.migrating import read_vectors
from requant.integration.cli.options import (
    HERE,
    READ_HERE,
    AsJson,
    CollectionName,
    Database,
    Engine,
    IndexName,
    IndexOptions,
    Params,
    Place,
    ReadPlace,
    engine_params,
)
from requant.integration.cli.output import (
    print_answer,
    print_json,
    print_lines,
    print_table,
    ratio,
    readable,
    size,
)
from requant.integration.cli.progress import progress, waiting

if TYPE_CHECKING:
    from requant.collection import Collection
    from requant.verification import IndexInfo

app: typer.Typer = new_app()


@app.callback()
def _index() -> None:
    """Add, list, choose, drop and rebuild the indexes of a collection."""


@app.command("add")
@takes_bundles
def add(
    database: Database,
    collection: CollectionName,
    name: IndexName,
    index: IndexOptions,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace what stands there under that name."),
    ] = False,
    exist_ok: Annotated[
        bool,
        typer.Option("--exist-ok", help="Be content with the same index if it is there already."),
    ] = False,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Build an index from the stored vectors; the first one is in use at once.

    Next: `requant search`, or `requant index use` to ask another index.

    --json answers: collection, index (name, engine, precision, index_type,
    options, params, url, active, items, bytes, current, problem).
    """
    with place.opened(database) as opened:
        target = opened.collection(collection)
        with stoppable(f"there is no index {name!r}"), progress(f"building {name}") as advance:
            more = {"overwrite": overwrite, "exist_ok": exist_ok, **index.arguments()}
            target.add_index(name, progress=advance, **more)
        _tell(target, name, "Built", as_json)


@app.command("attach")
@takes_bundles
def attach(
    database: Database,
    collection: CollectionName,
    name: IndexName,
    location: Annotated[
        str,
        typer.Argument(metavar="LOCATION", help="The file, folder or URL of the other index."),
    ],
    engine: Engine = "faiss",
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids",
            metavar="FILE",
            help="What it calls the items: a JSON object from its ids to yours, or a JSON list of "
            "yours by its row numbers, or the file that was imported as --items by row. By default "
            "both are the same.",
        ),
    ] = None,
    param: Params = None,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Search an index that another program made and keeps, where it stands.

    It is never written to. The collection has to hold its vectors: first
    `requant import` it. What is written later is found too, by reading it;
    `requant migrate` moves to an index of your own.

    --json answers: collection, recall, index (as `requant index add`).
    """
    with place.opened(database) as opened:
        target = opened.collection(collection)
        recall = target.attach_index(
            name,
            engine=engine,
            location=location,
            ids=None if ids is None else _read_ids(ids),
            params=engine_params(param),
        )
        if not as_json:
            print_lines(f"It finds {recall:.4f} of the 10 nearest of stored vectors.")
        _tell(target, name, "Attached", as_json, recall=recall)


@app.command("list")
@takes_bundles
def list_(
    database: Database,
    collection: CollectionName,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Show the indexes of a collection; a star marks the one in use.

    `ratio` is the index's size to that of the float32 vectors. An index that
    is not `current` catches up with what was written at the next search.

    --json answers: collection, indexes (name, engine, precision, index_type,
    options, params, url, active, items, bytes, current, problem).
    """
    with place.opened(database) as opened:
        stats = opened.collection(collection).stats()
    if as_json:
        indexes = [index_json(info) for info in stats.indexes]
        print_json({"collection": collection, "indexes": indexes})
    elif stats.indexes:
        print_indexes(stats.indexes, stats.vector_bytes)
    else:
        print_lines(
            f"Collection {collection!r} has no index and is searched exactly.",
            f"Next: requant index add {database} {collection} main{place.words}",
        )


@app.command("use")
@takes_bundles
def use(
    database: Database,
    collection: CollectionName,
    name: IndexName,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Make an index the one that searches ask.

    --json answers: collection, index (as `requant index add`).
    """
    with place.opened(database) as opened:
        target = opened.collection(collection)
        target.use_index(name)
        _tell(target, name, "In use:", as_json)


@app.command("drop")
@takes_bundles
def drop(
    database: Database,
    collection: CollectionName,
    name: IndexName,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Remove an index and its files; the stored vectors remain.

    --json answers: collection, dropped.
    """
    with place.opened(database) as opened:
        opened.collection(collection).drop_index(name)
    print_answer(
        as_json,
        {"collection": collection, "dropped": name},
        f"Dropped index {name!r} of collection {collection!r}.",
    )


@app.command("rebuild")
@takes_bundles
def rebuild(
    database: Database,
    collection: CollectionName,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The index; by default the one in use."),
    ] = None,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Fit and encode an index anew from the stored vectors.

    --json answers: collection, index (as `requant index add`).
    """
    with place.opened(database) as opened:
        target = opened.collection(collection)
        what = name or "the index in use"
        with stoppable(f"{what} is what it was"), progress(f"rebuilding {what}") as advance:
            target.rebuild(name, progress=advance)
        _tell(target, name, "Rebuilt", as_json)


@app.command("calibrate")
@takes_bundles
def calibrate(
    database: Database,
    collection: CollectionName,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The index; by default the one in use."),
    ] = None,
    target: Annotated[
        float,
        typer.Option("--target", metavar="SHARE", help="How much of the nearest is to be found."),
    ] = 0.99,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help="Query vectors (.npy) as they will be asked; by default stored vectors.",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", metavar="K", help="How many results recall is counted over.")
    ] = 10,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Measure how hard an index has to try for a recall; `--recall` uses it.

    Stored vectors are easier to find than what people ask for: give --queries.

    --json answers: collection, index, target, k, effort, oversample, recall,
    lower, queries, queries_from, items, milliseconds.
    """
    vectors = None if queries is None else read_vectors(queries)
    with place.opened(database) as opened, waiting("calibrating"):
        found = opened.collection(collection).calibrate(target, queries=vectors, k=k, index=name)
    tries = f"{found.oversample:g} candidates a result"
    if found.effort is not None:
        tries = f"effort {found.effort} and {tries}"
    print_answer(
        as_json,
        {"collection": collection, **asdict(found)},
        f"Index {found.index!r} finds {found.recall:.4f} of the {k} nearest (95 % sure of "
        f"{found.lower:.4f}; {found.queries} {found.queries_from}) with {tries}, "
        f"in {found.milliseconds:.2f} ms. Search with --recall {target:g}.",
    )


def index_json(info: IndexInfo) -> dict[str, Any]:
    """Return an index as the commands' JSON has it."""
    return asdict(info)


def print_indexes(indexes: list[IndexInfo], vector_bytes: int) -> None:
    """Write a table of indexes."""
    rows = (
        (
            "*" if info.active else "",
            info.name,
            info.engine,
            info.precision,
            info.index_type,
            "" if info.items is None else f"{info.items:,}",
            size(info.bytes),
            ratio(info.bytes, vector_bytes),
            "yes" if info.current else "no",
        )
        for info in indexes
    )
    headings = ("", "index", "engine", "precision", "type", "items", "bytes", "ratio", "current")
    print_table(headings, rows, right=("items", "bytes", "ratio"), wrap=("index",))
    for info in indexes:
        if options := {**info.options, **info.params}:
            print_lines(f"  {info.name}: {readable(options)}")
        if info.problem is not None:
            print_lines(f"  problem: {info.name}: {info.problem}; drop it, and add it again")


def _read_ids(path: str) -> Any:
    from requant.integration.readers import EXTENSIONS, ids_by_row

    if path.lower().endswith(EXTENSIONS):
        return ids_by_row(path)
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--ids: {path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict | list):
        raise InputError(f"--ids: {path} holds neither an object nor a list")
    return found


def _tell(target: Collection, name: str | None, done: str, as_json: bool, **more: float) -> None:
    """Tell of one index, of the one in use if `name` is None; `more` is for machines."""
    stats = target.stats()
    info = next(i for i in stats.indexes if i.name == name or (name is None and i.active))
    if as_json:
        print_json({"collection": target.name, **more, "index": index_json(info)})
        return
    if info.precision == "attached":
        filled = f"{info.items:,} vectors where they stand"
    elif info.bytes is None:
        filled = "it fills when the collection has vectors"
    else:
        small = ratio(info.bytes, stats.vector_bytes)
        filled = f"{info.items:,} vectors in {size(info.bytes)}, {small} of their float32 bytes"
    used = "searches ask it" if info.active else "`requant index use` makes searches ask it"
    print_lines(
        f"{done} index {info.name!r} ({info.engine} {info.precision} {info.index_type}): "
        f"{filled}; {used}."
    )
