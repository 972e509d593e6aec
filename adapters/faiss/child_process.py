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

from requant.adapters.errors import EngineError
from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError, UnsupportedError

_ERRORS = {error.__name__: error for error in (InputError, UnsupportedError)}
_CHILD = "from requant.adapters.faiss import child_process; child_process.serve()"
_SECONDS = 600


def is_needed() -> bool:
    """Whether usearch was imported before FAISS."""
    order = {name: place for place, name in enumerate(sys.modules)}
    return "usearch.compiled" in order and order["usearch.compiled"] < order["faiss"]


def make(spec: IndexSpec, sample: Codes | None, *, train: bool) -> Any:
    """Return what `factory` makes of `spec`, trained or not, from a process without usearch."""
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
    command = [sys.executable, "-c", _CHILD]
    done = subprocess.run(
        command, input=sent.getvalue(), capture_output=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        name, _, said = done.stderr.decode(errors="replace").rpartition("\x1e")[2].partition(": ")
        raise _ERRORS.get(name, EngineError)(
            said or f"faiss ended with {done.returncode}: import faiss before usearch"
        )
    return faiss.deserialize_index(np.frombuffer(done.stdout, np.uint8))


def serve() -> None:
    """Do in the child what `make` asked for: an order on stdin, the index on stdout."""
    from requant.adapters.faiss import factory

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
