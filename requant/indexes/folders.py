"""Folders of this machine that a database names for indexes, outside of its own folder.

The store names them, and may come from anybody. So a user says once that a folder is for a
database: by naming it in `add_index` or `migrate`, or by `trust=`. When an index is made there, a
mark in the folder says so from then on, to all processes and to copies of the database.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from requant.store import Identity

_MARKS = ".requant"


def is_within(folder: Path, other: Path) -> bool:
    """Whether `folder` is `other` or stands in it, wherever links lead."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(other))


def admit(folder: Path, identity: Identity) -> None:
    """Note in a folder that it was given to a database."""
    with suppress(OSError):  # what is put there says more clearly why it cannot be
        marks = folder / _MARKS
        marks.mkdir(parents=True, exist_ok=True)
        (marks / identity.name).touch()


def give_back(folder: Path, identity: Identity) -> None:
    """Remove the mark of a database that has no index in the folder any more."""
    marks = folder / _MARKS
    with suppress(OSError):
        (marks / identity.name).unlink()
        marks.rmdir()


def is_admitted(folder: Path, identity: Identity) -> bool:
    """Whether a folder was given to a database, or to one that it was copied from."""
    names = (identity.name, *identity.ancestors)
    return any((folder / _MARKS / name).is_file() for name in names if name)
