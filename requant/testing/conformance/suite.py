"""The conformance suite: what every backend has to pass."""

from __future__ import annotations

from requant.testing.conformance.answers import Answers
from requant.testing.conformance.contract import Contract
from requant.testing.conformance.durability import Durability
from requant.testing.conformance.notes import Notes
from requant.testing.conformance.refusals import Refusals
from requant.testing.conformance.sharing import Sharing
from requant.testing.conformance.writes import Writes


class BackendConformance(Answers, Writes, Durability, Notes, Refusals, Sharing, Contract):
    """Subclass it in a test file and name the backend; pytest does the rest.

    ```python
    class TestMyEngine(BackendConformance):
        backend = MyBackend
        params = {"hnsw": {"M": 8}}
    ```
    The cases come from `MyBackend.capabilities`: exact rows must equal the NumPy reference, others
    must reach the recall `floor` on the same codes.
    """
