"""Models of sentence-transformers by name: those that `requant.register_model` knows nothing of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from requant.integration.errors import PackageMissingError


def load(name: str) -> Any:
    """Return the SentenceTransformer of a name, or `name@revision`."""
    try:
        package = import_module("sentence_transformers")
    except ImportError as error:
        raise PackageMissingError(
            f"model {name!r:.80} needs sentence-transformers: pip install 'requant[text]' (or "
            "register the name with requant.register_model)"
        ) from error
    plain, _, revision = name.partition("@")
    chosen = {"revision": revision} if revision else {}
    return package.SentenceTransformer(plain, **chosen)
