"""Measure requant as the vector store of a framework.

python -m benchmarks.frameworks langchain [--data FOLDER] [--queries 500]

Each framework is a module of this package with `main(data, queries)`. It is run in an environment
that has what it compares with: `.venv-frameworks`, which `make test` makes.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

FRAMEWORKS = sorted(
    path.stem
    for path in Path(__file__).parent.glob("[a-z]*.py")
    if not path.stem.endswith("_child")
)


def main() -> None:
    """Measure one framework."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("framework", choices=FRAMEWORKS)
    asked.add_argument("--data", type=Path, help="folder of rebuild_data; default: the subset")
    asked.add_argument("--queries", type=int, default=500)
    told = asked.parse_args()
    import_module(f"benchmarks.frameworks.{told.framework}").main(told.data, told.queries)


if __name__ == "__main__":
    main()
