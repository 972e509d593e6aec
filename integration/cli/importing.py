"""`requant import`: a file of vectors, or an index of other software, into a collection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from requant.errors import InputError
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.import_run import Job, run
from requant.integration.cli.import_source import open_import
from requant.integration.cli.options import AsJson, CollectionName, Database, Folder

if TYPE_CHECKING:
    from requant.integration.readers import Wanted

_BATCH = 4096


class MetricName(str, Enum):
    """How vectors are compared."""

    cosine = "cosine"
    ip = "ip"
    l2 = "l2"


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
            help="The column or payload key of texts; by default `document`, "
            "of an index or store also `text` or `page_content`.",
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
            help="JSON lines (.jsonl, .jsonl.gz) with the ids, documents and metadata "
            "that belong to the rows of a .npy or .npz file.",
        ),
    ] = None

    def wanted(self) -> Wanted:
        """Return them as the readers take them."""
        from requant.integration.readers import Wanted

        return Wanted(self.ids, self.vector, self.documents, tuple(self.metadata or ()))


@takes_bundles
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file: .npy .npz .parquet .arrow .feather .jsonl .ndjson .jsonl.gz .ndjson.gz; "
            "or what other software keeps, see above.",
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
    add: Annotated[
        bool, typer.Option("--add", help="Refuse ids that are stored already; else replace them.")
    ] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Store a file of vectors in a collection, and make database and collection if need be.

    The source may also be an index or a store of other software, which is
    recognised by what is in it: a FAISS file, a usearch file, a LanceDB table
    (folder TABLE.lance, lancedb:///folder/TABLE, s3://bucket/folder/TABLE), a
    Qdrant collection (http(s)://host:6333/collections/NAME, a folder of
    qdrant-client or of Qdrant edge), and the folders of LangChain, LlamaIndex,
    Haystack, txtai, Chroma and VDF. Nothing is embedded again, and what the
    source does not hold is said: vectors may be exact, normalised (without
    their lengths), lossy (from compressed codes) or codes-only (bits).

    The source is read in batches, so it may be larger than memory. A row that
    cannot be stored stops the import with its number and the reason; what was
    stored before stays, and the same command, run again on the corrected source,
    completes it.

    Next: `requant index add`, then `requant search`.

    --json answers: database, collection, source, rows, new, replaced,
    without_vector, dim, metric, kind, fidelity (null for a file of columns),
    notes, columns (ids, vector, documents, metadata; ids null: row numbers;
    null for an index or store), indexes (how many), complete, error.
    """
    from requant.inputs import check_name
    from requant.store import refuse_own_file

    check_name(collection, "collection")
    if database == ":memory:":
        raise InputError("a database in memory is gone when the import ends: name a file")
    refuse_own_file(source, database)
    opened = open_import(source, options.wanted(), options.items)
    job = Job(opened, database, collection, options.metric and options.metric.value, add)
    try:
        code = run(job, batch, folder, as_json)
    finally:
        opened.close()
    if code:
        raise typer.Exit(code)
