"""The turbovec backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from requant.adapters.guards import check_codes, check_supported
from requant.adapters.local import LocalBackend
from requant.adapters.protocol import Capabilities, IndexSpec
from requant.adapters.turbovec import pool
from requant.adapters.turbovec.capabilities import CAPABILITIES
from requant.adapters.turbovec.index import NativeIndex, bits_of
from requant.quantizers.arrays import Codes

if TYPE_CHECKING:
    from typing_extensions import Self

# Candidates for each of ten results with which 0.999 of those of WordNet (117,659 x 384) are found,
# and 0.99 where all vectors have a large mean in common.
_OVERSAMPLE = {2: 5.0, 4: 2.0}


class TurbovecBackend(LocalBackend[NativeIndex]):
    """Vectors in turbovec's codes, in memory; `flush` writes a file that plain turbovec loads.

    A search takes one thread, unless `RAYON_NUM_THREADS` says otherwise when the first index of a
    process is made or opened.

    >>> import numpy as np
    >>> from requant.quantizers.codes import CodeSpec
    >>> index = TurbovecBackend.create(IndexSpec(CodeSpec("native", 2), "ip"))
    >>> index.upsert(np.array([7, 9]), np.array([[1, 2], [3, 4]], np.float32))
    >>> index.search(np.array([[1, 1]], np.float32), 2).keys.tolist()
    [[9, 7]]
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    @classmethod
    def create(
        cls, spec: IndexSpec, location: str | None = None, *, sample: Codes | None = None
    ) -> Self:
        """Return an empty index in memory, calibrated by `sample (n, d)`."""
        check_supported(cls.capabilities, spec)
        if sample is not None:
            sample = check_codes(sample, spec, len(sample))
        pool.start()
        return cls(spec, NativeIndex.new(spec, sample))

    @classmethod
    def open(cls, spec: IndexSpec, location: str) -> Self:
        """Read the file that `flush` wrote.

        It must have passed `requant.adapters.files.check_digest` before: turbovec loads damaged
        codes without a word.
        """
        check_supported(cls.capabilities, spec)
        pool.start()
        return cls(spec, NativeIndex.load(spec, location))

    @property
    def oversample(self) -> float:
        """How many candidates a result needs, by the bits of the codes."""
        return _OVERSAMPLE[bits_of(self.spec)]
