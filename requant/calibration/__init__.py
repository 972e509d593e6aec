"""How hard an index has to try for a wanted recall: measured once, kept, used by searches."""

from __future__ import annotations

from requant.calibration.measuring import Calibrated, calibrate, check_wish

__all__ = ["Calibrated", "calibrate", "check_wish"]
