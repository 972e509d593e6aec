"""The suite that every backend has to pass, in parts by what they look at."""

from __future__ import annotations

from requant.testing.conformance.suite import BackendConformance

__all__ = ["BackendConformance"]
