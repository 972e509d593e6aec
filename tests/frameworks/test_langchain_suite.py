"""LangChain's own suite of vector stores, complete, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from requant.integration.langchain import RequantVectorStore

ENGINES = ["faiss", "usearch", "qdrant", "lancedb"]
PRECISIONS = ["int8", "binary"]


class TestRequantVectorStore(VectorStoreIntegrationTests):
    """Synchronous and asynchronous, in a file."""

    @pytest.fixture(params=PRECISIONS)
    def precision(self, request: pytest.FixtureRequest) -> str:
        """Return a precision of the index."""
        return str(request.param)

    @pytest.fixture(params=ENGINES)
    def vectorstore(
        self, request: pytest.FixtureRequest, precision: str, tmp_path: Path
    ) -> Iterator[VectorStore]:
        """Return an empty store."""
        with RequantVectorStore(
            self.get_embeddings(),
            tmp_path / "notes.requant",
            engine=request.param,
            precision=precision,
        ) as store:
            yield store
