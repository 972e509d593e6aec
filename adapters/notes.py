"""The note of a place that is a folder: a small file in it."""

from __future__ import annotations

import os
from pathlib import Path

from requant.adapters.errors import EngineError

_NAME = "requant.note"


def write(folder: Path, text: str) -> None:
    """Replace the note of a folder, wholly or not at all; it is not on the disk yet."""
    partial = folder / f".{_NAME}.partial"
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / _NAME)
    except OSError as error:
        raise EngineError(f"cannot write to {folder}: {error}") from error


def read(folder: Path) -> str | None:
    """Return the note of a folder, None if it has none."""
    try:
        return (folder / _NAME).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise EngineError(f"cannot read {folder}: {error}") from error


def sync(folder: Path) -> None:
    """Bring the note to the disk, if there is one."""
    try:
        with (folder / _NAME).open("r+b") as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise EngineError(f"cannot write to {folder}: {error}") from error


def remove(folder: Path) -> None:
    """Remove the note of a folder."""
    (folder / _NAME).unlink(missing_ok=True)
