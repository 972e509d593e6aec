"""Arguments and options that several commands share."""

from __future__ import annotations

import json
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import FilterError, InputError

if TYPE_CHECKING:
    from requant.store import Tables

_PREFIX = "requant_"  # as the store has it, which is imported only where it is needed

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
SomeIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Ids of items; or none, and --where.")
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
ReadOnly = Annotated[
    bool,
    typer.Option(
        "--read-only",
        help="Only read: for a database in a place that cannot be written to. Indexes answer as "
        "they were last published, and the rest comes from the store.",
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="HOST",
        help="A host, as https://qdrant.example:6333, that gets keys of the environment where the "
        "database names it, or a folder, as /srv/indexes, in which its indexes may be; repeat it "
        "for more.",
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        "--prefix", metavar="PREFIX", help="What the names of requant's tables begin with."
    ),
]
Schema = Annotated[
    str | None,
    typer.Option("--schema", metavar="SCHEMA", help="Their schema, in PostgreSQL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]

Engine = Annotated[
    str,
    typer.Option("--engine", metavar="ENGINE", help="The engine, see `requant engines`."),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="A parameter of the engine, see `requant engines`; repeat it for more.",
    ),
]


@dataclass(frozen=True)
class TableNames:
    """What requant's tables are called, and where they are."""

    prefix: Prefix = _PREFIX
    schema: Schema = None

    @property
    def tables(self) -> Tables:
        """Them, as the library takes them; raises InputError."""
        from requant.store import build_tables

        return build_tables(prefix=self.prefix, schema=self.schema)

    @property
    def words(self) -> str:
        """What is to be added to a command that we propose, a space before each word."""
        words = [] if self.prefix == _PREFIX else ["--prefix", self.prefix]
        words += [] if self.schema is None else ["--schema", self.schema]
        return "".join(f" {shlex.quote(word)}" for word in words)


@dataclass(frozen=True)
class Place(TableNames):
    """How a database is opened to be written to."""

    folder: Folder = None
    trust: Trust = None

    def opened(self, database: str) -> AbstractContextManager[Any]:
        """Open a database that is there; raises InputError or StoreError where none is."""
        from requant.integration.databases import existing

        how = {
            name: value for name, value in vars(self).items() if name not in ("prefix", "schema")
        }
        return existing(database, tables=self.tables, **how)


@dataclass(frozen=True)
class ReadPlace(Place):
    """How a database is opened to be read."""

    read_only: ReadOnly = False


# What stands for them where a command gives them last.
NAMES = TableNames()
HERE = Place()
READ_HERE = ReadPlace()


@dataclass(frozen=True)
class ItemFilter:
    """Which items, where not all."""

    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="JSON",
            help='Only items that meet a filter, such as \'{"lang": "en"}\' or '
            '\'{"year": {"$gte": 2020}}\'; see `requant --help`.',
        ),
    ] = None


@dataclass(frozen=True)
class IndexOptions:
    """What an index is to be: the options of `requant index add` and `requant migrate`."""

    engine: Engine = "faiss"
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="PRECISION",
            help="float32, float16, int8, uint8, int4, int2, int1, binary or native.",
        ),
    ] = "int8"
    index_type: Annotated[
        str,
        typer.Option(
            "--type", metavar="flat|hnsw|ivf", help="flat (every code is compared), hnsw or ivf."
        ),
    ] = "flat"
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits", metavar="N", help="Bits a dimension of binary codes, 1 to 4; by default 2."
        ),
    ] = None
    rotate: Annotated[
        bool | None,
        typer.Option(
            "--rotate/--no-rotate",
            help="Rotate before quantizing; by default binary does, int8 and uint8 do not.",
            show_default=False,
        ),
    ] = None
    dialect: Annotated[
        str | None,
        typer.Option(
            "--dialect",
            metavar="DIALECT",
            help="sentence-transformers, for its int8, uint8 and ubinary codes.",
        ),
    ] = None
    param: Params = None
    mmap: Annotated[
        bool,
        typer.Option("--mmap", help="Map the index file instead of reading it, where it can be."),
    ] = False
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The server or object storage that keeps the index: http://localhost:6333, "
            "s3://bucket/indexes.",
        ),
    ] = None
    remote_name: Annotated[
        str | None,
        typer.Option("--remote-name", metavar="NAME", help="What the index is called there."),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return them as `Collection.add_index` and `migrate` take them; raises InputError."""
        given = {name: value for name, value in vars(self).items() if name != "param"}
        return {**given, "params": engine_params(self.param)}


def engine_params(given: list[str] | None) -> dict[str, Any]:
    """Return the parameters that were given as KEY=VALUE; raises InputError."""
    return dict(map(_parameter, given or ()))


def _parameter(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--param {text!r}: write it as KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def condition(text: str | None) -> Any:
    """Return the filter that was given as JSON, None if none was; raises FilterError."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise FilterError(f"--where is not JSON: {error}") from error
