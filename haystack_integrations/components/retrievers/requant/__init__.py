"""requant's retrievers, where Haystack looks for them."""

from haystack_integrations.components.retrievers.requant.embedding_retriever import (
    RequantEmbeddingRetriever,
)
from haystack_integrations.components.retrievers.requant.hybrid_retriever import (
    RequantHybridRetriever,
)

__all__ = ["RequantEmbeddingRetriever", "RequantHybridRetriever"]
