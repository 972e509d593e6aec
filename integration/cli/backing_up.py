"""`requant backup` and `restore`: a database in one file, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import stoppable
from requant.integration.cli.options import (
    NAMES,
    READ_HERE,
    AsJson,
    Database,
    Folder,
    ReadPlace,
    TableNames,
)
from requant.integration.cli.output import print_json, print_lines, size
from requant.integration.cli.progress import progress, waiting

if TYPE_CHECKING:
    from requant.backup import Backup

_File = Annotated[str, typer.Argument(metavar="FILE", help="The backup, one file.")]


@takes_bundles
def backup(
    database: Database,
    file: _File,
    indexes: Annotated[
        bool,
        typer.Option(
            "--with-indexes",
            help="Carry the newest published index files; else all indexes are made again from "
            "the vectors.",
        ),
    ] = False,
    place: ReadPlace = READ_HERE,
    as_json: AsJson = False,
) -> None:
    """Write a database into one checksummed file, while others read and write.

    It holds what was committed when it began. Whatever goes wrong, FILE is a
    whole backup or absent; a file that exists is never replaced.

    --json answers: file, made, requant, schema, database, collections, items,
    indexes, bytes.
    """
    with (
        stoppable(f"there is no {file}"),
        place.opened(database) as opened,
        progress("backing up") as advance,
    ):
        made = opened.backup(file, indexes=indexes, progress=advance)
    _tell(file, made, as_json, f"{file} holds")


@takes_bundles
def restore(
    file: _File,
    database: Database,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the database that is there, if nobody has it open."
        ),
    ] = False,
    names: TableNames = NAMES,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, into SQLite or PostgreSQL, wherever it came from.

    Every byte is checked first. The database is replaced wholly or not at all;
    one that is open elsewhere is refused. Indexes that are not carried, and
    those that an engine keeps in a place of its own, are made again when they
    are first used.

    --json answers: file, made, requant, schema, database, collections, items,
    indexes, bytes.
    """
    import requant
    from requant.integration.databases import shown

    with stoppable(f"{shown(database)} is what it was"), waiting("restoring"):
        found = requant.restore(
            file, database, overwrite=overwrite, folder=folder, tables=names.tables
        )
    _tell(file, found, as_json, f"{shown(database)} holds what was backed up at {found.made}:")


def _tell(file: str, backup: Backup, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json({"file": file, **asdict(backup)})
        return
    files = len(backup.indexes)
    carried = f", with the files of {files} index{'es' * (files != 1)}" if files else ""
    print_lines(
        f"{sentence} {backup.items:,} items in {backup.collections:,} "
        f"collection{'s' * (backup.collections != 1)}, {size(backup.bytes)}{carried}."
    )
