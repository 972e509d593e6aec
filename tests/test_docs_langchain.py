"""The examples of docs/langchain.md run one after the other."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "langchain.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(EXAMPLES)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines() == [
        "a {'lang': 'en', 'year': 2024}",
        "1",
        "['a']",
        "a",
        "c",
        "{'num_added': 1, 'num_updated': 0, 'num_skipped': 0, 'num_deleted': 0}",
    ]
