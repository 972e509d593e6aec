"""The command line: the library's twin, with the same words."""

from requant.integration.cli.app import app, main

__all__ = ["app", "main"]
