"""Backups: a database in one file, made while it is in use, and put back as one that is whole.

A backup is a SQLite file of requant's tables, whichever database they came from, sealed so that it
is told from a database and from a damaged backup (`sealing`). It holds one snapshot, and index
files if they are wanted (`writing`); it is restored into SQLite or PostgreSQL (`restoring`).

What an engine keeps in a place of its own is never carried: it may know of what came later.
"""

from __future__ import annotations

from requant.backup.restoring import restore
from requant.backup.sealing import Backup
from requant.backup.writing import write_backup

__all__ = ["Backup", "restore", "write_backup"]
