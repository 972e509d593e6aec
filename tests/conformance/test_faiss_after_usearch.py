"""precision="native" on FAISS where usearch was imported first."""

from __future__ import annotations

import subprocess
import sys

AFTER_USEARCH = """
import usearch.index
from requant.adapters.faiss import FaissBackend
from requant.errors import InputError
from requant.adapters.protocol import IndexSpec
from requant.testing.data import code_spec, make_codes, make_keys
kinds = ["flat", "flat PCA48,SQ8", "ivf", "hnsw"]
for index_type, _, factory in (kind.partition(" ") for kind in kinds):
    own = {"factory": factory} if factory else {}
    spec = IndexSpec(code_spec("native", 64), "l2", index_type, own)
    codes = make_codes(spec.code, 300)
    backend = FaissBackend.create(spec, sample=codes)
    backend.upsert(make_keys(300), codes)
    assert (backend.search(codes[:3], 5).keys >= 0).all()
    backend.flush("index")
    assert len(FaissBackend.open(spec, "index")) == 300
try:
    FaissBackend.create(IndexSpec(spec.code, "l2", "flat", {"factory": "Nonsense"}))
except InputError as error:
    assert "could not parse index string Nonsense" in str(error)
else:
    raise AssertionError
"""


def test_usearch_may_be_imported_first(tmp_path):
    """FAISS's factory would end the process (see `child_process`)."""
    done = subprocess.run(
        [sys.executable, "-c", AFTER_USEARCH],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
