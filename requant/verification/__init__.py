"""Whether a store is whole and its indexes are true to it, and what there is of both.

`verify_collection` looks, `Report` tells; `collect_stats` counts and measures.
"""

from __future__ import annotations

from requant.verification.checks import verify, verify_collection
from requant.verification.report import Report
from requant.verification.stats import IndexInfo, PublishedIndex, Stats, collect_stats, published

__all__ = [
    "IndexInfo",
    "PublishedIndex",
    "Report",
    "Stats",
    "collect_stats",
    "published",
    "verify",
    "verify_collection",
]
