"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Database = Annotated[
    str,
    typer.Argument(
        metavar="DB", help="The database: a file, or a SQLAlchemy URL of SQLite or PostgreSQL."
    ),
]
CollectionName = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="The name of the collection.")
]
AnyCollection = Annotated[
    str | None,
    typer.Argument(metavar="COLLECTION", help="One collection; by default all of them."),
]
IndexName = Annotated[str, typer.Argument(metavar="NAME", help="The name of the index.")]
Folder = Annotated[
    str | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        envvar="REQUANT_FOLDER",
        help="Where index files are kept; by default beside the SQLite file. "
        "To be given for PostgreSQL.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]
