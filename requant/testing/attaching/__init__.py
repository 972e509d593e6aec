"""The suite for engines that attach indexes of other programs."""

from __future__ import annotations

from requant.testing.attaching.suite import AttachConformance, AttachFileConformance

__all__ = ["AttachConformance", "AttachFileConformance"]
