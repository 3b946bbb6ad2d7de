"""A headless Chromium, driven over WebDriver's plain HTTP: no package beyond Debian's chromium and chromium-driver."""
from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

# Pictures of a page as most people see it, and on a telephone.
PICTURES = [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)]


class Browser:
    """One window. `console()` and `requests()` give what happened since they were last called."""

    def __enter__(self) -> "Browser":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.process = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "no_proxy": "127.0.0.1"})
        self.base = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 30
        while True:
            try:
                if self.ask("GET", "/status")["ready"]:
                    break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--disable-background-networking", "--disable-component-update", "--no-first-run", "--no-proxy-server"]
        capabilities = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                        "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments}}
        self.base += "/session/" + self.ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait(timeout=20)

    def ask(self, method: str, path: str, body: object | None = None) -> object:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            return json.load(opener.open(request, timeout=60))["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:2000]) from error

    def devtools(self, command: str, **parameters: object) -> object:
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, width: int, height: int, scheme: str) -> None:
        """The window's size in CSS pixels, and what prefers-color-scheme says."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, address: str) -> None:
        self.ask("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: object) -> object:
        """The result of a function body of JavaScript in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 20) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(f"it never became true: {script}\n{self.console()}")
            time.sleep(0.05)

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key goes down, with the text that it types, and up."""
        self.devtools("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", key=key, code=key, windowsVirtualKeyCode=code, text=text)
        self.devtools("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def console(self) -> list[str]:
        """Errors and warnings, policy violations included."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"}) if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses that were asked for, whatever asked."""
        found = []
        for entry in self.ask("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def screenshot(self, path: Path) -> None:
        """The whole page, not only what fits the window."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True,
                             clip={"x": 0, "y": 0, "scale": 1, **self.run(
                                 "const e = document.documentElement; return {width: e.clientWidth, height: e.scrollHeight}")})
        path.write_bytes(base64.b64decode(shot["data"]))

    def keep(self, name: str, pictures: Sequence[tuple[str, int]] = ()) -> None:
        """A picture for people, when they ask for it with BITMILL_SCREENSHOTS=FOLDER: as it is, or in these schemes and widths."""
        if not (folder := os.environ.get("BITMILL_SCREENSHOTS")):
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not pictures:
            self.screenshot(Path(folder) / f"{name}.png")
        for scheme, width in pictures:
            self.show(width, 900, scheme)
            time.sleep(0.3)  # it is drawn again for the new width
            self.screenshot(Path(folder) / f"{name}-{scheme}-{width}.png")
