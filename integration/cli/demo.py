"""`requant demo`: what requant does, on real data, in seconds."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import InputError
from requant.integration.cli.group import BAD_ANSWER
from requant.integration.cli.options import AsJson
from requant.integration.cli.output import (
    print_json,
    print_lines,
    print_table,
    ratio,
    shortened,
    size,
)

if TYPE_CHECKING:
    from requant.collection import Collection
    from requant.integration.cli.demo_data import DemoData
    from requant.integration.cli.demo_runs import Run

_SHOWN_HITS = 3
_COLLECTION = "wordnet"


def demo(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="The folder of the example data; by default examples/wordnet.",
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="An engine to try; repeat it for more. By default faiss and usearch.",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="PATH", help="Keep the database at this path; by default it goes."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search 8,000 real definitions with every engine, and compare it with exact search.

    It stores the definitions of examples/wordnet with their embeddings,
    answers three queries, builds int8, int2 and binary indexes, measures
    recall, time and size of each, and verifies them all.

    --json answers: data, items, dim, vector_bytes, queries (text, hits),
    table (engine, precision, index_type, recall, cpu_ms, index_bytes, reason,
    available, share_of_float32), verify (ok, problems).
    """
    from requant.adapters import registry
    from requant.integration.cli import demo_data, demo_runs

    found = demo_data.find(data)
    engines = list(dict.fromkeys(engine or demo_runs.ENGINES))
    unknown = sorted(set(engines) - set(registry.names()))
    if unknown:
        raise InputError(
            f"unknown engine {unknown[0]!r}: choose one of {', '.join(registry.names())}"
        )
    if keep is not None and Path(keep).exists():
        raise InputError(f"--keep: {keep} is there already: choose another path")
    with tempfile.TemporaryDirectory(prefix="requant-demo-") as folder:
        path = keep or str(Path(folder) / "demo.requant")
        answer = _run(path, found, engines, as_json)
    if as_json:
        print_json(answer)
    elif keep is not None:
        print_lines(f"Next: requant search {keep} {_COLLECTION} --vector FILE.npy")
    else:
        print_lines("Next: requant import --help, for vectors of your own.")
    if not answer["verify"]["ok"]:
        raise typer.Exit(BAD_ANSWER)


def _run(path: str, data: DemoData, engines: list[str], as_json: bool) -> dict[str, Any]:
    """Do it all in the database at `path`, telling people about it as it goes."""
    import requant
    from requant.integration.cli import demo_data, demo_runs

    with requant.open(path) as database:
        collection = database.create_collection(_COLLECTION, demo_data.dimensions(data))
        demo_data.fill(collection, data)
        queries = [_answered(collection, data, row) for row in data.shown]
        if not as_json:
            print_lines(
                f"{len(collection):,} definitions of WordNet from {data.folder}, "
                f"{collection.dim} dimensions, in SQLite.",
                "",
            )
            _tell_queries(queries)
        runs = demo_runs.run_all(collection, data.queries, engines)
        stats = collection.stats()
        report = collection.verify(deep=True)
    table = [_run_json(run, stats.vector_bytes) for run in runs]
    if not as_json:
        _tell_table(runs, stats.vector_bytes, len(data.queries))
        print_lines(f"verify: {'ok' if report.ok else '; '.join(report.problems)}")
    return {
        "data": str(data.folder),
        "items": stats.items,
        "dim": stats.dim,
        "vector_bytes": stats.vector_bytes,
        "queries": queries,
        "table": table,
        "verify": {"ok": report.ok, "problems": report.problems},
    }


def _answered(collection: Collection, data: DemoData, row: int) -> dict[str, Any]:
    from requant.integration.cli.searching import hit_json

    found = collection.search(data.queries[row], _SHOWN_HITS)
    return {"text": data.texts[row], "hits": [*map(hit_json, found)]}


def _run_json(run: Run, vector_bytes: int) -> dict[str, Any]:
    small = run.index_bytes / vector_bytes if run.index_bytes else None
    return {**asdict(run), "available": run.reason is None, "share_of_float32": small}


def _tell_queries(queries: list[dict[str, Any]]) -> None:
    for query in queries:
        print_lines(f"  {query['text']}")
        for hit in query["hits"]:
            words = shortened(", ".join(hit["metadata"]["lemmas"]), 34)
            print_lines(f"    {hit['score']:.3f}  {words:<34}  {shortened(hit['document'], 70)}")
        print_lines("")


def _tell_table(runs: list[Run], vector_bytes: int, queries: int) -> None:
    rows = (
        (
            run.engine,
            run.precision,
            run.index_type,
            "not available" if run.recall is None else f"{run.recall:.4f}",
            "" if run.cpu_ms is None else f"{run.cpu_ms:.2f}",
            size(run.index_bytes),
            ratio(run.index_bytes, vector_bytes),
        )
        for run in runs
    )
    headings = ("engine", "precision", "type", "recall@10", "CPU ms", "index", "of float32")
    print_table(headings, rows, right=headings[3:])
    for run in runs:
        if run.reason is not None:
            wish = f"{run.engine} {run.precision or ''}".strip()
            print_lines(f"{wish}: not available: {run.reason}")
    print_lines(
        f"recall@10: of {queries} queries, against exact search; CPU ms: of one query, everything "
        f"included, median; of float32: {size(vector_bytes)}.",
    )
