"""`requant export`: a collection out again, for other software or for another database."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import stoppable
from requant.integration.cli.options import (
    READ_HERE,
    AsJson,
    CollectionName,
    Database,
    ItemFilter,
    ReadPlace,
    condition,
)
from requant.integration.cli.output import print_json, print_lines, size
from requant.integration.cli.progress import progress

if TYPE_CHECKING:
    from requant.integration.export import ExportReport


class FormatName(str, Enum):
    """What can be written."""

    parquet = "parquet"
    faiss = "faiss"
    usearch = "usearch"
    qdrant = "qdrant"
    lancedb = "lancedb"


@dataclass(frozen=True)
class ExportOptions(ItemFilter):
    """What is written, and how."""

    index_type: Annotated[
        str,
        typer.Option(
            "--type", metavar="flat|hnsw", help="faiss: every vector is compared, or a graph."
        ),
    ] = "flat"
    batch: Annotated[
        int, typer.Option("--batch", metavar="ROWS", min=1, help="Items in memory at a time.")
    ] = 1024
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace what stands there: an export, an index file of the same engine, or a "
            "collection on a Qdrant server; nothing else is ever replaced.",
        ),
    ] = False

    def arguments(self) -> dict[str, Any]:
        """Return them as `Collection.export` takes them; raises FilterError."""
        return {**vars(self), "where": condition(self.where)}


@takes_bundles
@takes_bundles
def export(
    database: Database,
    collection: CollectionName,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="parquet: a folder; faiss, usearch: a file; qdrant: http://host:6333/NAME or a "
            "folder of qdrant-edge; lancedb: a database folder or s3://bucket/folder, whose table "
            "gets the collection's name.",
        ),
    ],
    format: Annotated[
        FormatName,
        typer.Option(
            "--to",
            metavar="parquet|faiss|usearch|qdrant|lancedb",
            help="What to write; parquet keeps everything.",
            show_default=False,
        ),
    ],
    options: ExportOptions,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Write a collection to a file, folder or store that others can read.

    All items are those of one moment, whatever is written meanwhile. The target
    appears when it is complete: stopped or on a full disk, nothing is left of
    it, except on a server, where a killed process leaves what it had sent.

    A parquet folder holds every bit, with a manifest that tells what was there
    and by which each file is checked when it is imported again. What another
    format cannot hold is noted.

    Next: `requant import` brings a parquet folder back.

    --json answers: database, collection, target, format, rows,
    without_vector, left_out, bytes, seconds, notes.
    """
    from requant.integration.databases import shown

    arguments, what = options.arguments(), f"exporting {collection}"
    with place.opened(database) as opened:
        source = opened.collection(collection)
        with stoppable(f"nothing of it is at {target}"), progress(what) as advance:
            done = source.export(target, format=format.value, progress=advance, **arguments)
    if as_json:
        print_json({"database": shown(database), "collection": collection, **asdict(done)})
    else:
        _tell(collection, done)


def _tell(collection: str, done: ExportReport) -> None:
    measure = f", {size(done.bytes)}" if done.bytes is not None else ""
    print_lines(
        f"Exported {done.rows:,} rows of collection {collection!r} to {done.target} "
        f"({done.format}{measure}) in {done.seconds:.1f} s."
    )
    print_lines(*(f"note: {note}" for note in done.notes))
