"""WordNet's lemmas beside its definitions: 265,348 different texts, none of them made up.

    python -m benchmarks.lemmas --data FOLDER --out lemmas_f16.npy

embeds the 148,651 lemmas that are no definition too (a core embeds some 300 a second), for
`python -m benchmarks.lists --data FOLDER --lemmas lemmas_f16.npy`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.dataset import load_items
from benchmarks.rebuild_data import encode, load_model


def lemmas(items: list[dict[str, Any]]) -> list[str]:
    """Return every lemma once, in the order of the items, without those that define something."""
    definitions = {item["text"] for item in items}
    each = dict.fromkeys(lemma for item in items for lemma in item["lemmas"])
    return [lemma for lemma in each if lemma not in definitions]


def distinct(items: list[dict[str, Any]]) -> NDArray[np.intp]:
    """Return the rows of the definitions, each text once."""
    rows: dict[str, int] = {}
    for row, item in enumerate(items):
        rows.setdefault(item["text"], row)
    return np.array(list(rows.values()), np.intp)


def main() -> None:
    """Embed them, and write `(n, 384) float16`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the full WordNet data")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    wish = parser.parse_args()
    np.save(wish.out, encode(load_model(), lemmas(load_items(wish.data)), "lemmas"))


if __name__ == "__main__":
    main()
