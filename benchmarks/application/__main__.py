"""python -m benchmarks.application [PART ...]: all parts, or those that are named."""

from __future__ import annotations

import argparse
from importlib import import_module

# Each is a module with a `main()`, which prints what it measures beside what is to be reached.
PARTS = ("orm", "searching", "writers", "writing")


def main() -> None:
    """Run parts, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parts = parser.parse_args().parts
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]!r}: there is {', '.join(PARTS)}")
    for name in parts or PARTS:
        import_module(f"benchmarks.application.{name}").main()


if __name__ == "__main__":
    main()
