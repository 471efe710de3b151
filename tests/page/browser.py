"""A real headless browser, driven through its DevTools protocol with the kit's own packages."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Seconds for its start, and for each answer.
_PATIENCE = 30.0


def installed() -> str | None:
    """Return the path of a browser that starts; some systems have a stub of that name that does not."""
    paths = [path for name in NAMES if (path := shutil.which(name))]
    return next((path for path in paths if _starts(path)), None)


def _starts(path: str) -> bool:
    return subprocess.run([path, "--version"], capture_output=True, timeout=_PATIENCE, check=False).returncode == 0


@dataclass(kw_only=True)
class Log:
    """Messages of the browser about a page.

    Attributes:
        complaints: warnings, errors and lines of its console, exceptions, refused resources.
        requests: addresses of the resources that it requested.
    """

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """Start a browser with a profile of its own; yield the address of its DevTools."""
    argv = [
        str(installed()),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("DevTools listening on "):
                    yield line.split()[-1]
                    return
            raise AssertionError("the browser did not start: " + "".join(lines))
        finally:
            process.terminate()
            process.wait(_PATIENCE)


class Tab:
    """A page in the browser."""

    def __init__(self, connection: WebSocketClientConnection, log: Log) -> None:
        self._connection, self.log, self._number, self._session = connection, log, 0, ""

    async def open(self, page: Path, *, width: int, height: int, dark: bool = False) -> None:
        """Open a file in a window of this size (CSS pixels) and wait until it is drawn."""
        target = await self.ask("Target.createTarget", url="about:blank")
        self._session = (await self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True))[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.ask("Emulation.setEmulatedMedia", features=scheme)
        await self.ask("Page.navigate", url=page.as_uri())
        await self._until("Page.loadEventFired")
        await self.value("document.fonts.ready.then(() => new Promise(requestAnimationFrame)).then(() => 0)")

    async def value(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def key(self, name: str, code: int) -> None:
        """Press a key."""
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    async def picture(self, target: Path, *, whole: bool = False) -> None:
        """Write the visible part, or the whole page, as PNG."""
        shot = await self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(shot["data"]))

    async def ask(self, method: str, **params: Any) -> Any:
        """Send a request and wait for its answer; other messages are logged."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        await self._connection.write_message(
            json.dumps(message | ({"sessionId": self._session} if self._session else {}))
        )
        while (answer := await self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def _until(self, event: str) -> None:
        while (await self._next()).get("method") != event:
            pass

    async def _next(self) -> dict[str, Any]:
        message = await asyncio.wait_for(self._connection.read_message(), _PATIENCE)
        assert message is not None, "the browser has ended"
        event: dict[str, Any] = json.loads(message)
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.log.requests.append(params["request"]["url"])
            case "Log.entryAdded" if params["entry"]["level"] in ("warning", "error"):
                self.log.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.log.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.log.complaints.append(json.dumps(params["args"]))
        return event


@asynccontextmanager
async def tab(address: str) -> AsyncIterator[Tab]:
    """Open a new page in a running browser."""
    connection = await websocket_connect(address, max_message_size=1 << 28)
    try:
        yield Tab(connection, Log())
    finally:
        connection.close()
        while await connection.read_message() is not None:
            pass
