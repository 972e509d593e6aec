"""Our formats and metrics in usearch's words."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from usearch.index import MetricKind, ScalarKind

from requant.adapters.guards import whole_number
from requant.adapters.protocol import IndexSpec
from requant.adapters.usearch.kinds import clipped, kind_named
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeMetric, Format
from requant.quantizers.errors import InputError

# Always said: by default usearch makes bfloat16 of floats, and reads uint8 as bits.
_KINDS: dict[Format, Any] = {
    "float32": ScalarKind.F32,
    "float16": ScalarKind.F16,
    "int8": ScalarKind.I8,
    "uint8": ScalarKind.U8,
    "binary": ScalarKind.B1,
    "native": ScalarKind.F32,
}
# Half of float32, and its range.
NATIVE_KIND = "bf16"
_METRICS: dict[CodeMetric, Any] = {
    "ip": MetricKind.IP,
    "l2": MetricKind.L2sq,
    "hamming": MetricKind.Hamming,
}


def kind_of(spec: IndexSpec) -> Any:
    """Return usearch's name of what it keeps: the code format, or its own one of native codes."""
    if spec.code.format == "native":
        return kind_named(spec.params.get("dtype", NATIVE_KIND))
    if "dtype" in spec.params:
        raise InputError(f"parameter dtype is for native codes, not for {spec.code.format}")
    return _KINDS[spec.code.format]


def given_kind_of(spec: IndexSpec) -> Any:
    """Return usearch's name of the arrays that cross the protocol."""
    return _KINDS[spec.code.format]


def given(spec: IndexSpec, codes: Codes) -> Codes:
    """Return codes or queries as usearch can take them."""
    if spec.code.format == "native":
        return clipped(codes, spec.params.get("dtype", NATIVE_KIND))
    return codes


def metric_of(spec: IndexSpec) -> Any:
    """Return usearch's name of the metric."""
    return _METRICS[spec.metric]


def dimensions(spec: IndexSpec) -> int:
    """Return the dimensions of a row; bits, whole bytes of them, for binary."""
    return spec.code.width * 8 if spec.code.format == "binary" else spec.code.dim


def threads(spec: IndexSpec) -> int:
    """Return the number of threads, 0 where nobody says; usearch itself ignores OMP_NUM_THREADS."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2" nests
    return whole_number(spec, "threads", 0, least=0) or (int(told) if told.isdigit() else 0)


def distances_of(spec: IndexSpec, raw: Any, queries: int) -> Any:
    """Return usearch's distances as ours, `(q, k) float32`: its `ip` is 1 - the inner product.

    The 1 costs nothing where products are integers below 2**24, and 6e-8 elsewhere.
    """
    distances = np.array(raw, np.float32).reshape(queries, -1)
    if spec.metric == "ip":
        with np.errstate(invalid="ignore"):  # usearch leaves NaN behind the count of a row
            distances -= np.float32(1)
    return distances
