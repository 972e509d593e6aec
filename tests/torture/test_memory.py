"""The bound of memory with every precision and metric: tests/test_memory.py has some of them."""

from __future__ import annotations

import pytest

from tests.test_memory import takes_no_more


@pytest.mark.parametrize(("dim", "rows"), [(4096, 4096), (65_536, 320)])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "int4", "binary"])
def test_no_operation_takes_more_than_is_said(tmp_path, dim, rows, metric, precision):
    takes_no_more(tmp_path, dim, rows, metric, precision)
