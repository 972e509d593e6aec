"""What operators see: plain numbers of what was done, who is told of it, and what is logged.

An `Operation` is one search, write, build, catching up or publication. When it ends, a `Meter` adds
it up and observers are told. `Database.metrics` returns the sums, `Database.observe` takes an
`Observer`; `SlowLog` is one.
"""

from __future__ import annotations

from requant.metrics.figures import BOUNDS, CollectionMetrics, IndexMetrics, Metrics, Timing
from requant.metrics.meters import Meter, Meters
from requant.metrics.notices import logger, warn
from requant.metrics.operation import Kind, Observer, Operation
from requant.metrics.slow import SlowLog

__all__ = [
    "BOUNDS",
    "CollectionMetrics",
    "IndexMetrics",
    "Kind",
    "Meter",
    "Meters",
    "Metrics",
    "Observer",
    "Operation",
    "SlowLog",
    "Timing",
    "logger",
    "warn",
]
