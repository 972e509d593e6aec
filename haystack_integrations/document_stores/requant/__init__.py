"""requant's document store, where Haystack looks for it."""

from haystack_integrations.document_stores.requant.document_store import RequantDocumentStore

__all__ = ["RequantDocumentStore"]
