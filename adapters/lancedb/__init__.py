"""LanceDB behind the Backend protocol."""

from requant.adapters.lancedb.backend import LancedbBackend

__all__ = ["LancedbBackend"]
