"""Pure NumPy quantizers and the codes they make."""

from requant.quantizers.binary import BinaryQuantizer
from requant.quantizers.codes import CodeSpec, levels_to_thermometer
from requant.quantizers.dialects import MinMaxQuantizer
from requant.quantizers.factory import PRECISIONS, fingerprint, fit, from_bytes, to_bytes
from requant.quantizers.floats import FloatQuantizer
from requant.quantizers.levels import LevelQuantizer
from requant.quantizers.points import PointQuantizer
from requant.quantizers.protocol import Quantizer
from requant.quantizers.scalar import ScalarQuantizer

__all__ = [
    "PRECISIONS",
    "BinaryQuantizer",
    "CodeSpec",
    "FloatQuantizer",
    "LevelQuantizer",
    "MinMaxQuantizer",
    "PointQuantizer",
    "Quantizer",
    "ScalarQuantizer",
    "fingerprint",
    "fit",
    "from_bytes",
    "levels_to_thermometer",
    "to_bytes",
]
