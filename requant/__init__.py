"""Quantized first pass in a vector engine, exact float32 rescoring from your own database.

>>> import requant
>>> with requant.open(":memory:") as db:
...     notes = db.create_collection("notes", dim=2)
...     notes.upsert(["north", "east"], [[0.0, 1.0], [1.0, 0.0]])
...     notes.search([0.1, 0.9], k=1)[0].id
2
'north'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from requant.errors import (
    CorruptDataError,
    CorruptIndexError,
    DimensionError,
    DuplicateIdError,
    EngineError,
    EngineMissingError,
    ExistsError,
    FilterError,
    FilterWarning,
    ForkedError,
    IndexWarning,
    InputError,
    LocationTakenError,
    ModelError,
    NonFiniteError,
    OtherModelError,
    PackageMissingError,
    ReadOnlyError,
    RequantError,
    StoreError,
    TurnLostError,
    UnknownCollectionError,
    UnknownEngineError,
    UnknownFieldError,
    UnknownIdError,
    UnknownIndexError,
    UnsupportedError,
    UntrustedHostError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from requant.backup import Backup
    from requant.collection import Collection
    from requant.database import Database
    from requant.embeddings import (
        Calibration,
        Model,
        ModelInfo,
        pairwise_similarity,
        register_model,
        similarity,
    )
    from requant.exchange import ExportReport, ImportReport, import_items
    from requant.search import Batch, Hit
    from requant.store import Extent, FieldInfo, Item, Tables, ValueCount

__version__ = "0.1.0"

# It notes, in every child that is forked from now on, what the child has inherited.
import_module("requant.adapters.forks")

# SQLAlchemy takes longer to import than all of requant: it waits for the first use.
_LAZY = {
    "Backup": "requant.backup",
    "Batch": "requant.search",
    "Calibration": "requant.embeddings",
    "Collection": "requant.collection",
    "Database": "requant.database",
    "ExportReport": "requant.exchange",
    "Extent": "requant.store",
    "FieldInfo": "requant.store",
    "Hit": "requant.search",
    "ImportReport": "requant.exchange",
    "Item": "requant.store",
    "Model": "requant.embeddings",
    "ModelInfo": "requant.embeddings",
    "import_items": "requant.exchange",
    "ValueCount": "requant.store",
    "pairwise_similarity": "requant.embeddings",
    "register_model": "requant.embeddings",
    "similarity": "requant.embeddings",
}

__all__ = [
    "Backup",
    "Batch",
    "Calibration",
    "Collection",
    "CorruptDataError",
    "CorruptIndexError",
    "Database",
    "DimensionError",
    "DuplicateIdError",
    "EngineError",
    "EngineMissingError",
    "ExistsError",
    "ExportReport",
    "Extent",
    "FieldInfo",
    "FilterError",
    "FilterWarning",
    "ForkedError",
    "Hit",
    "ImportReport",
    "IndexWarning",
    "InputError",
    "Item",
    "LocationTakenError",
    "Model",
    "ModelError",
    "ModelInfo",
    "NonFiniteError",
    "OtherModelError",
    "PackageMissingError",
    "ReadOnlyError",
    "RequantError",
    "StoreError",
    "TurnLostError",
    "UnknownCollectionError",
    "UnknownEngineError",
    "UnknownFieldError",
    "UnknownIdError",
    "UnknownIndexError",
    "UnsupportedError",
    "UntrustedHostError",
    "ValueCount",
    "import_items",
    "open",
    "pairwise_similarity",
    "register_model",
    "restore",
    "similarity",
]


def open(
    target: str | Path | sa.Engine,
    *,
    folder: str | Path | None = None,
    secrets: Mapping[str, Mapping[str, Any]] | None = None,
    durable: bool = False,
    trust: Sequence[str] = (),
    read_only: bool = False,
    tables: Tables | None = None,
    create: bool = True,
) -> Database:
    """Open a database, and create it if it is not there.

    Args:
        target: a path (SQLite), `":memory:"` (gone when it is closed), a SQLAlchemy URL of SQLite
            or PostgreSQL, or an application's own engine, whose SQLite file is put into
            write-ahead mode.
        folder: where index files are kept; by default beside the SQLite file, at
            `<path>.indexes`. To be given for PostgreSQL, one for each set of `tables`.
        secrets: parameters of engines that are never stored, by the URL of the host they are for:
            `{"https://qdrant.example:6333": {"api_key": "..."}}`; or by engine,
            `{"qdrant": {"api_key": "..."}}`, see below. See `requant engines` for their names.
        trust: hosts, as `["https://qdrant.example:6333"]`, that get what was told by engine or
            stands in the environment, and folders, as `["/srv/indexes"]`, in which indexes of this
            database may be; more of them in REQUANT_TRUSTED_HOSTS, between commas.
        read_only: only read what is there: nothing is made, locked or published, and writes raise
            ReadOnlyError. For files and folders that cannot be written to, roles of PostgreSQL
            that may not, and where one must be sure. Indexes answer as they were last published,
            and the rest comes from the store; one that cannot be opened so is not asked, and
            searches are exact.
        durable: what has been written survives a power failure as soon as the call returns. By
            default SQLite may lose the last writes then, whole ones and the latest first; a crash
            of the process or a kill loses nothing either way.
        tables: their prefix and schema, as `requant.integration.sqlalchemy.add_tables` returns
            them; by default they are called `requant_...`. Two with different prefixes in one
            database do not see one another.
        create: make tables that are missing, and bring those of an older version up to date. Give
            False where migrations own them: then a StoreError says what to run.

    A database says where its indexes are, and may come from anybody. So secrets by engine and
    those of the environment (QDRANT_API_KEY...) go to hosts that `trust` lists, that you name in
    `add_index`, `attach_index` or `migrate` while the database is open, and to this machine. For
    any other host, what uses the index raises UntrustedHostError; and so it does for a folder
    given as `url=` where no index of this database was made before: name or trust it once.

    Raises:
        StoreError: the database cannot be opened; InputError: `folder` is missing, or an engine of
        your own is not durable; UnsupportedError: an asynchronous engine or driver.
        ForkedError: the SQLite file was open when this process was forked.
    """
    from requant.database import open_database

    return open_database(
        target,
        folder=folder,
        secrets=secrets,
        trust=trust,
        read_only=read_only,
        durable=durable,
        tables=tables,
        create=create,
    )


def restore(
    file: str | Path,
    target: str | Path | sa.Engine,
    *,
    overwrite: bool = False,
    folder: str | Path | None = None,
    tables: Tables | None = None,
) -> Backup:
    """Put back what `Database.backup` has written; return what the backup says of itself.

    A database is replaced wholly or not at all. Indexes whose files the backup does not carry, and
    those that an engine keeps in a place of its own, are made again from the vectors when they are
    first used.

    Args:
        file: the backup.
        target: a path (SQLite), a SQLAlchemy URL of SQLite or PostgreSQL, or an engine; where the
            backup came from does not matter.
        overwrite: replace the database that is there, if nobody has it open.
        folder: where index files are kept, as for `requant.open`.
        tables: their prefix and schema, as for `requant.open`.

    Raises:
        CorruptDataError: not a backup, or a damaged one; ExistsError: there is a database already;
        StoreError: it is open elsewhere, or cannot be written.
    """
    from requant.backup import restore

    return restore(file, target, overwrite=overwrite, folder=folder, tables=tables)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'requant' has no attribute {name!r}")
