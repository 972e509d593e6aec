"""usearch behind the Backend protocol."""

from requant.adapters.usearch.backend import UsearchBackend

__all__ = ["UsearchBackend"]
