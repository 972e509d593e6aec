"""The conformance suite: what every backend has to pass."""

from __future__ import annotations

from requant.testing.answers import Answers
from requant.testing.contract import Contract
from requant.testing.durability import Durability
from requant.testing.refusals import Refusals
from requant.testing.sharing import Sharing
from requant.testing.writes import Writes


class BackendConformance(Answers, Writes, Durability, Refusals, Sharing, Contract):
    """Subclass it in a test file and name the backend; pytest does the rest.

    ```python
    class TestMyEngine(BackendConformance):
        backend = MyBackend
        params = {"hnsw": {"M": 8}}
    ```
    The cases come from `MyBackend.capabilities`: exact rows must equal the NumPy reference, others
    must reach the recall `floor` on the same codes.
    """
