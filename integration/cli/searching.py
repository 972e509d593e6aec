"""`requant search`: the nearest items to a vector or a text, or those with the words of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import InputError
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.options import (
    READ_HERE,
    AsJson,
    CollectionName,
    Database,
    ItemFilter,
    ReadPlace,
    condition,
)
from requant.integration.cli.output import (
    contents,
    print_json,
    print_lines,
    print_table,
)
from requant.integration.cli.progress import waiting

if TYPE_CHECKING:
    from requant.search import Hit


@dataclass(frozen=True)
class QueryOptions:
    """What is searched for: a vector, a text and its model, words, or both."""

    vector: Annotated[
        str | None,
        typer.Option(
            "--vector",
            metavar="FILE|LIST",
            help="The query: a .npy file, or its numbers as a JSON list such as '[0.1, 0.2]'.",
        ),
    ] = None
    row: Annotated[
        int | None,
        typer.Option("--row", metavar="N", help="Which row of the .npy file, from 0."),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="TEXT",
            help="The query as text; the collection's model turns it into a vector.",
        ),
    ] = None
    words: Annotated[
        str | None,
        typer.Option(
            "--words",
            metavar="TEXT",
            help="Words of documents, any of them: as 'cat* AND \"hot dog\" -bird'.",
        ),
    ] = None
    hybrid: Annotated[
        str | None,
        typer.Option(
            "--hybrid",
            metavar="TEXT",
            help="By words and by meaning: the same text both ways, or with --vector.",
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="The model that made the vectors; by default the one that is remembered.",
        ),
    ] = None


@dataclass(frozen=True)
class SearchOptions(ItemFilter):
    """How it is searched for."""

    k: Annotated[int, typer.Option("-k", "--k", metavar="K", help="How many results.")] = 10
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            help="Leave out what has a lower score (l2: minus the squared distance).",
        ),
    ] = None
    index: Annotated[
        str | None,
        typer.Option(
            "--index", metavar="NAME", help="The index to ask; by default the one in use."
        ),
    ] = None
    exact: Annotated[
        bool, typer.Option("--exact", help="Score every vector instead of asking an index.")
    ] = False
    recall: Annotated[
        float | None,
        typer.Option(
            "--recall",
            metavar="SHARE",
            help="How much of the nearest to find; `requant index calibrate` measured how.",
        ),
    ] = None
    oversample: Annotated[
        float | None,
        typer.Option(
            "--oversample",
            metavar="FACTOR",
            help="Candidates of the first pass for each result; by default by precision.",
        ),
    ] = None
    effort: Annotated[
        int | None,
        typer.Option(
            "--effort",
            metavar="N",
            help="What a graph or IVF index may spend (efSearch, nprobe, expansion).",
        ),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return them as `Collection.search` takes them; raises FilterError."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {**given, "where": condition(self.where)}


@takes_bundles
@takes_bundles
def search(
    database: Database,
    collection: CollectionName,
    query: QueryOptions,
    options: SearchOptions,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Find the items nearest to a query, best first, with exact scores.

    A score is the cosine, the inner product, or minus the squared distance:
    higher is better. By --words it is BM25 (SQLite) or ts_rank_cd (PostgreSQL);
    by --hybrid the sum of 1 / (2 + rank) by words and 2 / (2 + rank) by vector.

    --json answers: collection, k, hits (id, score, document, metadata, and of
    --hybrid ranks: text, vector).
    """
    if sum(one is not None for one in (query.text, query.words, query.hybrid)) > 1:
        raise InputError("give one of --text, --words and --hybrid")
    if query.words is not None and (query.vector is not None or query.model is not None):
        raise InputError("--words takes neither --vector nor --model: --hybrid does")
    vector = _vector(query)
    arguments = options.arguments()
    with place.opened(database) as opened:
        target = opened.collection(collection)
        with waiting("searching"):
            found = _found(target, query, vector, arguments)
    if as_json:
        print_json({"collection": collection, "k": options.k, "hits": [*map(hit_json, found)]})
    else:
        print_hits(found)


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return a hit as the commands' JSON has it."""
    found = {
        "id": hit.id,
        "score": hit.score,
        "document": hit.document,
        "metadata": hit.metadata,
    }
    if hit.ranks is None:
        return found
    return {**found, "ranks": {"text": hit.ranks.text, "vector": hit.ranks.vector}}


def print_hits(found: list[Hit]) -> None:
    """Write hits as a table."""
    if not found:
        print_lines("Nothing found.")
        return
    rows = (
        (
            rank,
            f"{hit.score:.4f}",
            hit.id,
            *contents(hit.document, hit.metadata),
        )
        for rank, hit in enumerate(found, 1)
    )
    print_table(
        ("rank", "score", "id", "document", "metadata"),
        rows,
        right=("rank", "score"),
        wrap=("id", "document", "metadata"),
    )


def _found(target: Any, query: QueryOptions, vector: Any, arguments: dict[str, Any]) -> Any:
    if query.words is not None:
        return target.search_documents(query.words, **arguments)
    if vector is None and query.model is None and target.model is None:
        what = "--text" if query.text is not None else "--hybrid"
        raise InputError(
            f"{what} needs --model: collection {target.name!r} remembers none (--hybrid takes "
            "--vector instead, too)"
        )
    if query.hybrid is not None:
        return target.search_hybrid(query.hybrid, vector, model=query.model, **arguments)
    if query.text is not None:
        return target.search_text(query.text, model=query.model, **arguments)
    return target.search(vector, **arguments)


def _vector(query: QueryOptions) -> Any:
    """Return the vector that is searched for, None where it is made of a text or there is none."""
    texts = [one for one in (query.text, query.words, query.hybrid) if one is not None]
    both = query.vector is not None and query.text is not None
    if both or (query.vector is None and not texts):
        raise InputError(
            "give the query either as --vector or as --text, as --words, or as --hybrid with or "
            "without --vector"
        )
    if query.vector is None:
        return None
    if query.vector.lstrip().startswith("["):
        return _listed(query.vector)
    return _read(Path(query.vector), query.row)


def _listed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"--vector is no JSON list of numbers: {error}") from error


def _read(path: Path, row: int | None) -> Any:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"--vector: there is no file {path}; a list of numbers begins with '['"
        ) from None
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"--vector: {path} is not a .npy file of numbers: {error}") from error
    if array.ndim != 2:
        return array
    if row is None and len(array) != 1:
        raise InputError(f"{path} has {len(array)} rows: choose one with --row, from 0")
    row = row or 0
    if not 0 <= row < len(array):
        raise InputError(f"{path} has no row {row}: it has {len(array)}, from 0")
    return array[row]
