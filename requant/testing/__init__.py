"""The conformance suite and a reference backend, for whoever writes a backend (needs pytest).

>>> from requant.testing import BackendConformance, ReferenceBackend
>>> class TestReference(BackendConformance):
...     backend = ReferenceBackend
"""

import pytest

# So that a failing assertion in the suite shows its values in somebody else's test run.
pytest.register_assert_rewrite(
    "requant.testing.bench", "requant.testing.judge", "requant.testing.conformance.suite"
)

from requant.testing.conformance import BackendConformance  # noqa: E402
from requant.testing.reference import ReferenceBackend  # noqa: E402

__all__ = ["BackendConformance", "ReferenceBackend"]
