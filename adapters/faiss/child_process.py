"""FAISS's factory in a process of its own, where it would crash in this one.

usearch brings a C++ library of its own that takes the place of the one which FAISS's parser of
factory strings needs: where usearch was imported first, `faiss.index_factory` ends the process
(usearch 2.26, faiss-cpu 1.15, Linux). Nothing else of FAISS is known to suffer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO
from typing import Any

import faiss
import numpy as np

from requant.adapters import isolated
from requant.adapters.errors import EngineError
from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import InputError, UnsupportedError

_ERRORS = {error.__name__: error for error in (InputError, UnsupportedError)}
_CHILD = "from requant.adapters.faiss import child_main; child_main.main()"
_SECONDS = 600


def is_needed() -> bool:
    """Whether usearch was imported before FAISS."""
    order = {name: place for place, name in enumerate(sys.modules)}
    return "usearch.compiled" in order and order["usearch.compiled"] < order["faiss"]


def make(spec: IndexSpec, sample: Codes | None, *, train: bool) -> Any:
    """Return what `factory` makes of `spec`, trained or not, from a process without usearch."""
    try:
        done = isolated.run(_CHILD, given=_order(spec, sample, train), seconds=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(
            f"faiss cannot be used in another process ({error}): import faiss before usearch"
        ) from error
    if done.returncode:
        name, _, said = done.stderr.decode(errors="replace").rpartition("\x1e")[2].partition(": ")
        raise _ERRORS.get(name, EngineError)(
            said or f"faiss ended with {done.returncode}: import faiss before usearch"
        )
    return faiss.deserialize_index(np.frombuffer(done.stdout, np.uint8))


def _order(spec: IndexSpec, sample: Codes | None, train: bool) -> bytes:
    """Return what `child_main` reads: a line of JSON, and the sample if there is one."""
    sent = BytesIO()
    order = {
        "dim": spec.code.dim,
        "metric": spec.metric,
        "index_type": spec.index_type,
        "params": dict(spec.params),
        "expected": spec.expected,
        "sample": sample is not None,
        "train": train,
    }
    sent.write(json.dumps(order, default=int).encode() + b"\n")
    if sample is not None:
        np.save(sent, sample, allow_pickle=False)
    return sent.getvalue()
