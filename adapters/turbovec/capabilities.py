"""What turbovec can do, as measured on turbovec 1.1.2."""

from __future__ import annotations

from requant.adapters.protocol import Capabilities, Support

CAPABILITIES = Capabilities(
    engine="turbovec",
    storage="file",
    places=("memory",),
    # It knows inner products only, of which the cosine is one.
    supports=(Support("native", "flat", ("ip",), key_sets=True, lossy=True),),
    learns_from_sample=True,  # where the middle of each dimension is, and how far it spreads
    params={"bits": "bits a dimension: 4, or 2, which need more candidates (4)"},
)
