"""LlamaIndex: a vector store on requant, for indexes, query engines and pipelines.

>>> from llama_index.core.schema import TextNode
>>> from llama_index.core.vector_stores.types import VectorStoreQuery
>>> from requant.integration.llama_index import RequantVectorStore
>>> store = RequantVectorStore()
>>> store.add([TextNode(id_="a", text="east", embedding=[1.0, 0.0])])
['a']
>>> [node.text for node in store.query(VectorStoreQuery(query_embedding=[0.9, 0.1])).nodes]
['east']

What lives here: the store, how a node is kept (`nodes`), what LlamaIndex's filters mean
(`filters`), its query modes (`modes`), where it is persisted (`places`), and what comes from other
stores (`existing`). See docs/llama-index.md.
"""

from __future__ import annotations

from requant.integration.llama_index.errors import ModeError, NoEmbeddingError
from requant.integration.llama_index.store import RequantVectorStore

__all__ = ["ModeError", "NoEmbeddingError", "RequantVectorStore"]
