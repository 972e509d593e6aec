"""Makes schema2.tar.xz with a requant of schema 2, that is, before 27 November 2026 (625f3a5).

Run it with that version on the path, in an empty folder; then
`tar --sparse -cJf schema2.tar.xz schema2.requant schema2.requant.indexes`.
"""

import numpy as np

import requant


def vectors(n, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)


with requant.open("schema2.requant") as db:
    for engine in ("faiss", "usearch", "lancedb", "qdrant"):
        notes = db.create_collection(engine, 8)
        notes.upsert(range(60), vectors(60), documents=[str(i) for i in range(60)])
        notes.add_index("main", engine=engine, precision="int8")
        notes.delete([3])
        notes.upsert([5], vectors(1, seed=2))
        notes.search(np.ones(8))
        notes.flush()
    notes.migrate("second", engine="faiss", precision="binary")
