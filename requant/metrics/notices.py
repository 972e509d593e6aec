"""What is said in words: in the log for whoever runs a service, in a warning for whoever calls."""

from __future__ import annotations

import logging
import warnings

from requant.errors import IndexWarning

# Without a handler of the application's, warnings would be printed twice.
logging.getLogger("requant").addHandler(logging.NullHandler())


def logger(room: str) -> logging.Logger:
    """Return the logger of a room of the core: `requant.indexes`, `requant.search`..."""
    return logging.getLogger(f"requant.{room}")


def warn(room: str, text: str, kind: type[Warning] = IndexWarning, *, stacklevel: int = 2) -> None:
    """Say what a person should know of: as a warning of Python's, and in the log of a room."""
    logger(room).warning("%s", text)
    warnings.warn(text, kind, stacklevel=stacklevel + 1)
