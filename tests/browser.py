"""A headless Chromium, driven by its own protocol."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One page that is open."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def run(self, script: str) -> Any:
        """Return the value of some JavaScript."""
        # In a block, so that constants of two calls do not meet.
        number = next(self._numbers)
        told = {"expression": f"{{{script}}}", "returnByValue": True, "awaitPromise": True}
        self._socket.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": told}))
        while (answer := json.loads(self._socket.recv(30))).get("id") != number:
            pass
        result = answer["result"]
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a condition of JavaScript is true."""
        deadline = time.monotonic() + 30
        while not self.run(condition):
            if time.monotonic() > deadline:
                raise AssertionError(f"{condition}: {self.run('document.body.innerText')}")
            time.sleep(0.05)

    def texts(self, selector: str) -> list[str]:
        """Return what stands in elements."""
        found: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)"
        )
        return found


@contextmanager
def opened(url: str) -> Iterator[Page]:
    """Open a page, and close the browser at the end."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--disable-dev-shm-usage", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={profile}", url]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort", process)
            pages = httpx.get(f"http://127.0.0.1:{port}/json").json()
            target = next(one for one in pages if one["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(30)


def _port(told: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until the browser says where it listens."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if told.exists() and (lines := told.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError(f"{CHROMIUM} does not start: {process.returncode}")
