"""Imports the engines, so that processes forked from here need not."""

import faiss  # noqa: F401
import turbovec  # noqa: F401
import usearch.index  # noqa: F401

import requant.adapters.faiss
import requant.adapters.turbovec
import requant.adapters.usearch
import requant.database  # noqa: F401
from tests import slow_imports  # noqa: F401
