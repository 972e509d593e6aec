"""FAISS behind the Backend protocol."""

from requant.adapters.faiss.backend import FaissBackend

__all__ = ["FaissBackend"]
