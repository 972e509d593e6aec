"""The arguments of a search, as one value."""

from __future__ import annotations

from typing import Any, NamedTuple

from requant.integration.sentence_transformers.quantize import Ranges
from requant.integration.sentence_transformers.scores import Metric
from requant.quantizers.dialect_codes import Release


class Wish(NamedTuple):
    """What the caller asked for, in the order of the public functions."""

    engine: str
    precision: Any
    top_k: int
    ranges: Ranges | None
    calibration: Any
    rescore: bool
    multiplier: int
    exact: bool
    output_index: bool
    metric: Metric
    compat: bool
    dialect: Release
