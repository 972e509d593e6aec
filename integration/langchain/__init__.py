"""requant as a vector store of LangChain.

>>> from langchain_core.embeddings import DeterministicFakeEmbedding
>>> from requant.integration.langchain import RequantVectorStore
>>> with RequantVectorStore(DeterministicFakeEmbedding(size=8)) as store:
...     ids = store.add_texts(["a cat", "a car"], [{"lang": "en"}, {"lang": "en"}])
...     found = store.similarity_search("a car", k=1, filter={"lang": "en"})
...     found[0].page_content
'a car'

See docs/langchain.md.
"""

from __future__ import annotations

from requant.integration.readers.foreign.common import package

package("langchain_core", "vector stores of LangChain", "langchain")

from requant.integration.langchain.store import RequantVectorStore  # noqa: E402 - says first what is missing

__all__ = ["RequantVectorStore"]
