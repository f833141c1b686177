"""A real Chromium without a screen, driven through its remote debugging protocol over a pipe.

    with Browser() as browser:
        browser.open("http://127.0.0.1:9310/", width=360)
        browser.click("#trace-ask")
        browser.evaluate("document.title")
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ANSWER_S = 20

OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
           "--disable-extensions", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe"]


class Browser:
    """Lives in the network namespace in which it was made."""

    def __init__(self) -> None:
        self.complaints: list[str] = []  # what its console has of errors and warnings
        self._folder = tempfile.mkdtemp(prefix="linimo-chromium-")
        to_it, self._send = os.pipe()
        self._receive, from_it = os.pipe()
        # It reads descriptor 3 and writes to 4, whatever numbers ours have.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_it} 4>&{from_it}', "bash", "chromium", *OPTIONS,
             f"--user-data-dir={self._folder}", "about:blank"],
            pass_fds=(to_it, from_it), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        os.close(to_it)
        os.close(from_it)
        self._rest = b""
        self._last_id = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, url: str, width: int = 1400, height: int = 900) -> None:
        self.resize(width, height)
        self.call("Page.navigate", url=url)

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """dark or light"""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """As a mouse does: scrolled to, at its middle, and on whatever is there, which must be the thing itself."""
        at = self.evaluate(f"""(() => {{
            const part = document.querySelector({json.dumps(selector)});
            part.scrollIntoView({{block: 'center', behavior: 'instant'}});
            const box = part.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
            const hit = document.elementFromPoint(x, y);
            return {{x, y, hit: part.contains(hit), instead: hit && hit.outerHTML.slice(0, 100)}}; }})()""")
        if not at["hit"]:
            raise AssertionError(f"{selector} cannot be clicked: there is {at['instead']}")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at["x"], y=at["y"], button="left", clickCount=1)

    def press(self, key: str, code: int, times: int = 1, text: str = "") -> None:
        """`code`: as Windows numbers keys, which is how browsers know what a key does."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                more = {"text": text} if text and kind == "keyDown" else {}
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def type(self, selector: str, text: str) -> None:
        """Into a field, instead of what it has."""
        self.click(selector)
        length = self.evaluate(f"document.querySelector({json.dumps(selector)}).value.length")
        self.press("End", 35)
        self.press("Backspace", 8, length)
        if text:
            self.call("Input.insertText", text=text)

    def choose(self, selector: str, text: str) -> None:
        """Of a list, by the keyboard: its letters lead to it."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        for letter in text:
            self.press(letter, ord(letter.upper()), text=letter)

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + ANSWER_S
        while b"\0" not in self._rest:
            if not select.select([self._receive], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            chunk = os.read(self._receive, 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: str | None, what: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown" or (event == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning")) \
                or (event == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning")):
            self.complaints.append(json.dumps(what))

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # all of its processes
        self._process.wait()
        os.close(self._send)
        os.close(self._receive)
        shutil.rmtree(self._folder, ignore_errors=True)
