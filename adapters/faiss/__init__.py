"""FAISS behind the Backend protocol."""

import os

import faiss

from requant.adapters.faiss.backend import FaissBackend

if hasattr(os, "register_at_fork"):
    # The threads that OpenMP keeps for this one do not exist in a child, which would wait for them.
    os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))

__all__ = ["FaissBackend"]
