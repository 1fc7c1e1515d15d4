"""A real browser for tests: Chromium without a window, driven by its debugging protocol over the loopback."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What Chromium needs in a container, and what keeps it from asking the network by itself.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
MOST_WAIT_S = 60


class Tab:
    """One page in the browser; keeps what it logged and what it asked the network for."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=MOST_WAIT_S))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(facts["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(facts["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(facts["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {facts['message']}")

    def open(self, path: Path) -> None:
        """Load a file and wait until its script is done."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        until = time.monotonic() + MOST_WAIT_S
        while not self.value("document.documentElement?.dataset.ready || ''"):
            assert time.monotonic() < until, f"the page's script did not finish: {self.complaints}"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What an expression is in the page. The protocol's own evaluation, which the page's policy does not bind."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as the keyboard sends it."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def look(self, *, width: int, height: int, scheme: str) -> None:
        """Change the window, and whether the person prefers `light` or `dark`."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, *, whole: bool = False) -> bytes:
        """The page as PNG: what the window shows, or all of it."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])


@contextmanager
def tab() -> Iterator[Tab]:
    """A page in a browser of its own. Skips the test, with the reason, where there is none."""
    client = pytest.importorskip("websockets.sync.client", reason="no websockets to talk to a browser with")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with tempfile.TemporaryDirectory(prefix="luthier-browser-", ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = _page_address(Path(profile), browser)
            with client.connect(address, max_size=2**28, proxy=None) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()
            with suppress(subprocess.TimeoutExpired):
                browser.wait(timeout=10)
            browser.kill()


def _page_address(profile: Path, browser: "subprocess.Popen[bytes]") -> str:
    """The socket of the browser's first page, once it is there."""
    until = time.monotonic() + MOST_WAIT_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        if browser.poll() is not None:
            pytest.skip(f"the browser does not start here (exit code {browser.returncode})")
        with suppress(OSError, ValueError, StopIteration):
            port = (profile / "DevToolsActivePort").read_text().splitlines()[0]
            found = json.loads(opener.open(f"http://127.0.0.1:{port}/json/list", timeout=5).read())
            return str(next(each["webSocketDebuggerUrl"] for each in found if each["type"] == "page"))
        time.sleep(0.1)
    pytest.skip("the browser did not open its debugging port in time")
