"""The conformance suite and a reference backend, for whoever writes a backend (needs pytest).

>>> from requant.testing import BackendConformance, ReferenceBackend
>>> class TestReference(BackendConformance):
...     backend = ReferenceBackend
"""

import pytest

# So that a failing assertion in the suite shows its values in somebody else's test run.
pytest.register_assert_rewrite(
    *(
        f"requant.testing.{name}"
        for name in (
            "answers",
            "attach_bench",
            "attach_files",
            "attach_stamps",
            "attaching",
            "bench",
            "contract",
            "durability",
            "judge",
            "refusals",
            "sharing",
            "writes",
        )
    ),
)

from requant.testing.attaching import AttachConformance, AttachFileConformance  # noqa: E402
from requant.testing.conformance import BackendConformance  # noqa: E402
from requant.testing.reference import ReferenceBackend  # noqa: E402

__all__ = [
    "AttachConformance",
    "AttachFileConformance",
    "BackendConformance",
    "ReferenceBackend",
]
