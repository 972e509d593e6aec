"""Codes that FAISS keeps in memory are in huge pages, where the system gives them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.huge_pages import ENVIRONMENT, NOT_HERE


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for on Linux alone")
def test_codes_ask_for_huge_pages_and_answers_stay_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.huge_pages", str(tmp_path)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
