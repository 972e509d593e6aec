"""turbovec in the conformance suite, with both of its codes."""

from requant.adapters.turbovec import TurbovecBackend
from requant.testing import BackendConformance


class TestTurbovec(BackendConformance):
    backend = TurbovecBackend


class TestTurbovecTwoBits(BackendConformance):
    backend = TurbovecBackend
    params = {"flat": {"bits": 2}}  # noqa: RUF012 -- as the suite has it
