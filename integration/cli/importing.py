"""`requant import`: a file of vectors, or an index of other software, into a collection."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import BAD_ANSWER, STOPPED, report, stoppable
from requant.integration.cli.options import HERE, AsJson, CollectionName, Database, Place
from requant.integration.cli.output import print_json, print_lines, warn
from requant.integration.cli.progress import progress

if TYPE_CHECKING:
    from requant.exchange import ImportReport
    from requant.integration.importing import Job
    from requant.integration.readers import Wanted

_BATCH = 4096
_REPLACING = "--on-conflict replace"


class MetricName(str, Enum):
    """How vectors are compared."""

    cosine = "cosine"
    ip = "ip"
    l2 = "l2"


class By(str, Enum):
    """How vectors and items belong together."""

    id = "id"
    row = "row"


class Unmatched(str, Enum):
    """What is done with what has no counterpart."""

    refuse = "refuse"
    skip = "skip"
    keep = "keep"


class Conflict(str, Enum):
    """What becomes of an id that is stored already."""

    replaced = "replace"
    skipped = "skip"
    refused = "error"


_LOST = {
    "lossy": "its vectors are made from compressed codes",
    "codes-only": "its vectors are bits, as -1 and 1",
}


@dataclass(frozen=True)
class SourceOptions:
    """How the source is understood: how its vectors compare, and where in it everything is."""

    metric: Annotated[
        MetricName | None,
        typer.Option(
            "--metric",
            metavar="cosine|ip|l2",
            help="How a new collection compares vectors; by default as the source does, "
            "or cosine if it does not tell.",
        ),
    ] = None
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids",
            metavar="COLUMN",
            help="The column or payload key of ids, each once; by default `id` or `ids`, "
            "or the ids of the index. A file without any gets the row numbers, from 0, as ids.",
        ),
    ] = None
    vector: Annotated[
        str | None,
        typer.Option(
            "--vector",
            "--vectors-key",
            metavar="COLUMN",
            help="The column of vectors (.npz: the name of the array; Qdrant: of the vector); "
            "by default `vector` or `embedding`, or the only one that can be.",
        ),
    ] = None
    documents: Annotated[
        str | None,
        typer.Option(
            "--documents",
            metavar="COLUMN",
            help="The column or payload key of texts; by default `document`, `text` or "
            "`page_content`.",
        ),
    ] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--metadata",
            metavar="COLUMN",
            help="A column to keep as metadata under its name; repeat it for more. "
            "`all` keeps every remaining column. "
            "By default the objects of a column `metadata`, if there is one; "
            "of an index or store, everything.",
        ),
    ] = None
    items: Annotated[
        str | None,
        typer.Option(
            "--items",
            metavar="FILE",
            help="A file of the ids, documents and metadata that belong to the vectors of SOURCE: "
            ".parquet .arrow .feather .csv .tsv .jsonl, the last three also with .gz.",
        ),
    ] = None
    items_by: Annotated[
        By | None,
        typer.Option(
            "--items-by",
            metavar="id|row",
            help="id: a vector's id is looked up among the ids of --items. row: the n-th row "
            "belongs to the n-th vector, or to the vector that an index calls n. By default by id "
            "where both have ids, else by row.",
        ),
    ] = None
    unmatched: Annotated[
        Unmatched,
        typer.Option(
            "--unmatched",
            metavar="refuse|skip|keep",
            help="Joined by id, what has no counterpart: refused before anything is stored, left "
            "out on both sides, or kept as it is.",
        ),
    ] = Unmatched.refuse

    def wanted(self) -> Wanted:
        """Return them as the readers take them."""
        from requant.integration.readers import Wanted

        return Wanted(self.ids, self.vector, self.documents, tuple(self.metadata or ()))

    def job(self, source: str, database: str, collection: str, on_conflict: Any) -> Job:
        """Open the source; raises InputError, PackageMissingError."""
        from requant.inputs import check_name
        from requant.integration.importing import Job, check_target, open_import

        check_name(collection, "collection")
        check_target(source, database)
        by: Any = None if self.items_by is None else self.items_by.value
        opened = open_import(source, self.wanted(), self.items, by, self.unmatched.value)
        metric = self.metric and self.metric.value
        return Job(opened, database, collection, metric, on_conflict, warn)


@takes_bundles
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file: .npy .npz .parquet .arrow .feather .csv .tsv .jsonl .ndjson, the last "
            "four also with .gz; or what other software keeps, see above.",
        ),
    ],
    database: Database,
    collection: CollectionName,
    options: SourceOptions,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", metavar="ROWS", min=1, help="Rows a transaction: stored together or not."
        ),
    ] = _BATCH,
    on_conflict: Annotated[
        Conflict,
        typer.Option(
            "--on-conflict",
            metavar="replace|skip|error",
            help="What becomes of an id that is stored already: its item is replaced, its row is "
            "left out, or the import stops.",
        ),
    ] = Conflict.replaced,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Store a file of vectors in a collection, and make database and collection if need be.

    SOURCE may also be an index or a store of other software, recognised by
    what is in it: a FAISS or usearch file, a LanceDB table (TABLE.lance,
    lancedb:///folder/TABLE, s3://bucket/folder/TABLE), a Qdrant collection
    (http(s)://host:6333/collections/NAME, a folder), the folders of LangChain,
    LlamaIndex, Haystack, txtai, Chroma and VDF. Nothing is embedded again;
    whether vectors are exact, normalised, lossy or codes-only (bits) is said.

    --items joins texts and metadata by id or by row, as in `requant import
    a.faiss notes.requant notes --items texts.parquet --metadata all`. Its rows
    wait in a temporary SQLite file of about their size (TMPDIR), and a source
    that is joined by id is read twice.

    The source is read in batches. A row that cannot be stored stops the import
    with its number and the reason; what was stored before stays, and the same
    command on the corrected source completes it.

    --json answers: database, collection, source, rows, new, replaced, skipped,
    without_vector, dim, metric, kind, fidelity (null for a file of columns), notes,
    columns (ids, vector, documents, metadata; ids null: row numbers; null for an
    index or store), items (file, by, rows, matched, vectors_without_row,
    rows_without_vector, unmatched; null without --items), not_taken (columns of
    which nothing was made), indexes (how many), complete, error.
    """
    with stoppable("nothing was stored"):
        job = options.job(source, database, collection, on_conflict.value)
        code = _run(job, batch, place, as_json)
    if code:
        raise typer.Exit(code)


def _tell_of_others(database: str, place: Place) -> None:
    """Say that new tables are made beside those of another name, unless names were given."""
    from requant.integration.databases import others

    found = "" if place.words else others(database, place.tables)
    if found:
        warn(f"new tables are made, of the names that are the default.{found}")


def _run(job: Job, batch: int, place: Place, as_json: bool) -> int:
    """Import, tell what came of it, and return the exit code."""
    from requant.errors import RequantError

    _tell_of_others(str(job.target), place)
    lost = _LOST.get(job.source.fidelity or "")
    if lost:
        warn(
            f"{job.source.name}: {lost}, so rescoring is no more exact than they are: for exact "
            "results embed the documents again"
        )
    problem: str | None = None
    code = 0
    try:
        with closing(job.source), progress(f"importing {job.source.short}") as advance:
            job.run(batch, place.folder, advance, trust=place.trust, tables=place.tables)
    except KeyboardInterrupt:
        if job.collection is None:
            raise
        problem, code = "stopped by Ctrl-C", STOPPED
        warn(f"{problem}: at least {job.incomplete('the same command', _REPLACING)}")
    except (RequantError, OSError) as error:
        if not job.tally.rows:
            raise
        problem, code = str(error), BAD_ANSWER
        report(error, f"; {job.incomplete('the same command', _REPLACING)}")
    told = job.report(problem)
    if as_json:
        print_json(asdict(told))
    elif problem is None:
        _tell(told, place.words)
    return code


def _tell(told: ImportReport, words: str) -> None:
    skipped = f", {told.skipped:,} skipped" if told.skipped else ""
    print_lines(
        f"Stored {told.rows:,} rows in collection {told.collection!r} of {told.database}: "
        f"{told.new:,} new, {told.replaced:,} replaced{skipped}; {told.dim} dimensions, "
        f"{told.metric}."
    )
    if told.fidelity is not None:
        print_lines(f"Source: {told.kind}; vectors: {told.fidelity}.")
        print_lines(*(f"Note: {note}." for note in told.notes))
    if told.columns is not None:
        ids = f"column {told.columns['ids']!r}" if told.columns["ids"] else _numbers(told)
        print_lines(
            f"ids: {ids}; documents: {told.columns['documents'] or 'none'}; "
            f"metadata: {', '.join(told.columns['metadata']) or 'none'}."
        )
    if told.items is not None:
        print_lines(
            f"Joined by {told.items['by']} with {told.items['file']}: {told.items['matched']:,} "
            f"matched, {told.items['vectors_without_row']:,} vectors without a row, "
            f"{told.items['rows_without_vector']:,} rows without a vector."
        )
    if told.not_taken:
        print_lines(
            f"Not taken: {', '.join(told.not_taken)}; --metadata all or --metadata NAME keeps them."
        )
    if told.without_vector:
        print_lines(f"{told.without_vector:,} of them have no vector: no search will find them.")
    if not told.indexes:
        print_lines(f"Next: requant index add {told.database} {told.collection} main{words}")


def _numbers(told: ImportReport) -> str:
    return "row numbers, from 0" if told.fidelity is None else "those of the source"
