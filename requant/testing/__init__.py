"""The conformance suite, a reference backend, and others that count, wait or fail (needs pytest).

>>> from requant.testing import BackendConformance, ReferenceBackend
>>> class TestReference(BackendConformance):
...     backend = ReferenceBackend
"""

import pytest

# So that a failing assertion in the suite shows its values in somebody else's test run.
pytest.register_assert_rewrite(
    "requant.testing.attaching",
    "requant.testing.bench",
    "requant.testing.conformance",
    "requant.testing.judge",
)

from requant.testing.attaching import AttachConformance, AttachFileConformance  # noqa: E402
from requant.testing.conformance import BackendConformance  # noqa: E402
from requant.testing.reference import ReferenceBackend  # noqa: E402
from requant.testing.wrapper import (  # noqa: E402
    CountingBackend,
    FailingBackend,
    SlowBackend,
    WrapperBackend,
)

__all__ = [
    "AttachConformance",
    "AttachFileConformance",
    "BackendConformance",
    "CountingBackend",
    "FailingBackend",
    "ReferenceBackend",
    "SlowBackend",
    "WrapperBackend",
]
