"""The files of SQLite databases that are open here, which nobody else may open in this process.

SQLite's locks are POSIX's: they end when the process closes the file by whatever other handle. Then
other processes believe to be alone, and writes are lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from requant.errors import InputError
from requant.store.connections.forks import SIDE_FILES, open_files


def refuse_own_file(path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> None:
    """Raise InputError if `path` is a file of a database that is open here, or of `others`.

    To be asked before it is opened. A URL that names no file passes.
    """
    plain = os.fspath(path).removeprefix("file://")
    if "://" in plain or not Path(plain).is_file():
        return
    for own in _files([*open_files(), *(os.fspath(other) for other in others)]):
        if own.exists() and own.samefile(plain):
            raise InputError(
                f"{plain} is a file of the database {own} itself, which is open here: to read it "
                "by other means would end SQLite's locks; use db.backup for a copy"
            )


def _files(databases: Iterable[str]) -> list[Path]:
    return [
        Path(f"{database}{end}")
        for database in databases
        if "://" not in database
        for end in SIDE_FILES
    ]
