"""Make quantizers and codes as the first format has them, for tests to read.

    python tests/data/make_quantizers.py tests/data/quantizers_v1.json

Made once, before codes were true to length; what a later version makes of it must stay the same.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np

from requant import quantizers


def vectors() -> np.ndarray:
    """Return `(60, 12) float32`, the same with every version of NumPy."""
    rng = np.random.Generator(np.random.PCG64(14))
    return (rng.random((60, 12)) - 0.3).astype(np.float32)


def made(precision: str) -> dict[str, str]:
    """Return a quantizer's bytes and the codes of `vectors`."""
    quantizer = quantizers.fit(precision, vectors())  # type: ignore[arg-type]  # one of them
    both = {"bytes": quantizers.to_bytes(quantizer), "codes": quantizer.encode(vectors()).tobytes()}
    return {name: b64encode(data).decode() for name, data in both.items()}


if __name__ == "__main__":
    every = {precision: made(precision) for precision in ("int2", "int4", "binary")}
    Path(sys.argv[1]).write_text(json.dumps(every, indent=1) + "\n")
