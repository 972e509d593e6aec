"""What runs in the process that `child_process` starts: FAISS's factory, and nothing of usearch."""

from __future__ import annotations

import json
import sys
from io import BytesIO

import faiss
import numpy as np

from requant.adapters.faiss import factory
from requant.adapters.protocol import IndexSpec
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError, UnsupportedError


def main() -> None:
    """Do what `child_process.make` asked for: an order on stdin, the index on stdout."""
    order = json.loads(sys.stdin.buffer.readline())
    sample = None
    if order["sample"]:
        sample = np.load(BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    code = CodeSpec("native", order["dim"])
    spec = IndexSpec(code, order["metric"], order["index_type"], order["params"], order["expected"])
    try:
        index = factory.new_index(spec, sample) if order["train"] else factory.model(spec)
    except (InputError, UnsupportedError) as error:
        sys.exit(f"\x1e{type(error).__name__}: {error}")
    sys.stdout.buffer.write(faiss.serialize_index(index).tobytes())
