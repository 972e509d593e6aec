"""Two plots and a table of what `python -m benchmarks.peers --out FILE` has measured.

python -m benchmarks.peers.drawing FILE [--docs FOLDER]

FOLDER/performance.md gets the table between its two marks, FOLDER/figures the plots.
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

OURS = "requant "
TARGET = 0.99
DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def best(one: dict[str, Any]) -> dict[str, Any]:
    """Return the fastest setting that reaches the target, or else the one that finds the most."""
    settings: list[dict[str, Any]] = one["settings"]
    reached = [row for row in settings if row["recall"] >= TARGET]
    if reached:
        return min(reached, key=lambda row: row["of_flat"])
    return max(settings, key=lambda row: row["recall"])


def curves(results: list[dict[str, Any]], path: Path) -> None:
    """Draw recall against queries a second: up and to the right is better."""
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    flat = min(one["flat"] for one in results)
    shades = cycle(mpl.color_sequences["tab20"])
    for one in sorted(results, key=lambda one: not one["name"].startswith(OURS)):
        points = sorted((row["recall"], 1e3 / (row["of_flat"] * flat)) for row in one["settings"])
        points = [point for point in points if point[0] >= 0.8]
        if not points:
            continue
        ours = one["name"].startswith(OURS)
        style = {"marker": "o", "linewidth": 2} if ours else {"marker": "x", "linestyle": ":"}
        axes.plot(*zip(*points, strict=True), label=one["name"], color=next(shades), **style)
    axes.set(xlabel="recall@10", ylabel="queries a second, one core", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def memory(results: list[dict[str, Any]], path: Path) -> None:
    """Draw a process's own memory against time at the target; those that miss it are hollow."""
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for one in results:
        row, ours = best(one), one["name"].startswith(OURS)
        color = "tab:blue" if ours else "tab:gray"
        inside = color if row["recall"] >= TARGET else "none"
        at = one["own"], row["of_flat"]
        axes.scatter(*at, facecolors=inside, edgecolors=color)
        axes.annotate(one["name"], at, fontsize=7, xytext=(4, 3), textcoords="offset points")
    axes.set(
        xlabel="MB of its own beyond the engine's import",
        ylabel="time of a query, as a share of IndexFlatIP's",
        xscale="log",
        yscale="log",
    )
    axes.grid(alpha=0.3)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write the same bytes for the same figures."""
    with mpl.rc_context({"svg.hashsalt": "requant", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def table(results: list[dict[str, Any]]) -> str:
    """Return one row a contender, those that reach the target first, the fastest first."""
    lines = [
        "| | setting | recall@10 | time, of FlatIP | own MB | mapped files "
        "| on disk, MB | build, CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(one, best(one)) for one in results]
    for one, row in sorted(rows, key=lambda row: (row[1]["recall"] < TARGET, row[1]["of_flat"])):
        share = row["of_flat"]
        told = f"1/{1 / share:.1f}" if share < 0.995 else f"{share:.2g}"
        name = f"**{one['name']}**" if one["name"].startswith(OURS) else one["name"]
        numbers = (one["own"], one["mapped"], one["bytes"] / 1e6, one["build"])
        cells = [name, row["setting"], f"{row['recall']:.4f}", told, *(f"{n:.0f}" for n in numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what the peers have taken.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args()
    results = json.loads(options.file.read_text(encoding="utf-8"))
    figures = options.docs / "figures"
    figures.mkdir(exist_ok=True)
    curves(results, figures / "speed.svg")
    memory(results, figures / "memory.svg")
    page = options.docs / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
