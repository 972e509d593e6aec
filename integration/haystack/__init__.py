"""Haystack's documents in requant.

The classes are defined in `haystack_integrations`, since Haystack loads components from nowhere
else; what they do is done here, and they can be imported from here, too:

```python
from requant.integration.haystack import RequantDocumentStore, RequantEmbeddingRetriever
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack_integrations.components.retrievers.requant import (
        RequantEmbeddingRetriever,
        RequantHybridRetriever,
    )
    from haystack_integrations.document_stores.requant import RequantDocumentStore

__all__ = ["RequantDocumentStore", "RequantEmbeddingRetriever", "RequantHybridRetriever"]

_RETRIEVERS = "haystack_integrations.components.retrievers.requant"
_DEFINED = {
    "RequantDocumentStore": "haystack_integrations.document_stores.requant",
    "RequantEmbeddingRetriever": _RETRIEVERS,
    "RequantHybridRetriever": _RETRIEVERS,
}


def __getattr__(name: str) -> Any:
    # Not before they are asked for: they import from here.
    if name not in _DEFINED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_DEFINED[name]), name)
