"""What the environment says; see README.md."""

from __future__ import annotations

import os
from pathlib import Path

HOME = Path(__file__).parents[1]
WORDNET = HOME.parent / "wordnet"

DATABASE_URL = os.environ.get("ARTICLES_DATABASE_URL", "sqlite+aiosqlite:///articles.db")
# Where requant keeps its index files: all workers, and nobody else, use one folder.
INDEXES = Path(os.environ.get("ARTICLES_INDEXES", "articles.indexes"))
# A model of sentence-transformers with 384 dimensions, such as all-MiniLM-L6-v2; else a small one
# that is made of the example data.
MODEL = os.environ.get("ARTICLES_MODEL", "")
