"""Fixtures of the bootstrap's tests; nothing is fetched from a network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bootstrap.builders import Index, Tree, make_kit, make_wheel, real_uv, write_pins

GROUPS = {"setup": ["uv"], "base": ["tinydep"], "train": ["trainer"], "test": ["tester"]}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels for every group, and one of uv that runs the real one."""
    folder = tmp_path_factory.mktemp("wheels") / "my {wheels}"
    make_wheel(folder, "tinydep", "1.0", "VALUE = 42\n")
    make_wheel(folder, "trainer", "1.0")
    make_wheel(folder, "tester", "1.0")
    make_wheel(folder, "torch", "2.0+cpu", needs="Requires-Dist: tinydep\n")
    make_wheel(folder, "uv", "1.0", script=f'#!/bin/sh\nexec "{real_uv()}" "$@"\n')
    return folder


@pytest.fixture
def tree(tmp_path: Path, wheels: Path) -> Tree:
    """A kit that was never started; PATH has nothing but uv."""
    home, tools = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    tools.mkdir()
    (tools / "uv").symlink_to(real_uv())
    root = make_kit(tmp_path / "the {kit} é")
    write_pins(root, wheels, GROUPS, torch="2.0")
    return Tree(root, home, tools)


@pytest.fixture
def index(tmp_path: Path, wheels: Path) -> Iterator[Index]:
    """Serves the wheels as ``/main/``, and what a test adds in other sub-folders."""
    state = Index(tmp_path / "index")
    state.folder.mkdir()
    (state.folder / "main").symlink_to(wheels)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = state.body(self.path.replace("%2B", "+"))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/zip" if self.path.endswith(".whl") else "text/html")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815 - a name of http.server's

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client was killed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    state.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()
