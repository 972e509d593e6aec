"""Qdrant behind the Backend protocol: embedded (qdrant-edge), a server, or the client's local mode.

Neither package is imported before a place needs it, so that one of them is enough.
"""

from importlib.util import find_spec

if find_spec("qdrant_edge") is None and find_spec("qdrant_client") is None:
    raise ImportError("neither qdrant-edge-py nor qdrant-client is installed")

from requant.adapters.qdrant.backend import QdrantBackend

__all__ = ["QdrantBackend"]
