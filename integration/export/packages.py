"""Engines are imported when an export to them begins, and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from requant.integration.errors import PackageMissingError


def package(name: str, extra: str) -> Any:
    """Import a module; raises PackageMissingError, which says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise PackageMissingError(
            f"this export needs {name.partition('.')[0]}: pip install 'requant[{extra}]'"
        ) from error
