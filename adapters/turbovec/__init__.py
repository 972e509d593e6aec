"""turbovec behind the Backend protocol."""

from requant.adapters.turbovec.backend import TurbovecBackend

__all__ = ["TurbovecBackend"]
