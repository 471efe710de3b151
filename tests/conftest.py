"""Fixtures: the real ffmpeg, clips made with it, and the kit started as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.core import exits, layout
from kit.options.session import KIT_ROOT
from kit.system import telemetry
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg, locate
from kit.video.sources.read import Tools
from tests.cli.builders import Ask, Command, Kit, in_process
from tests.sharing import shared
from tests.steps.builders import QUICK, run_folder
from tests.video.builders import FRAMES, PICTURES, MakeClip

telemetry.disable(os.environ)  # before a test loads onnxruntime


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """A test run in the background or under nohup inherits ignored signals, and so would the kits it starts."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    """The ffmpeg inside the pinned wheel."""
    return locate(None, origin="", processes=Processes())


@pytest.fixture(scope="session")
def tools(ffmpeg: Ffmpeg) -> Tools:
    return Tools(ffmpeg=ffmpeg, processes=Processes())


@pytest.fixture(scope="session")
def make_clip(ffmpeg: Ffmpeg) -> MakeClip:
    """Write a clip: ``make_clip(path, picture, *ffmpeg_output_args, frames=10)``; the suffix decides the container."""

    def make(path: Path, picture: str, *args: str, frames: int = FRAMES) -> Path:
        source = PICTURES.get(picture, picture)
        codec = args if "-c:v" in args or "-c" in args or path.suffix in (".yuv", ".y4m") else (*args, "-c:v", "ffv1")
        pix_fmt = () if "-pix_fmt" in args else ("-pix_fmt", "yuv420p")
        form = ("-f", "rawvideo") if path.suffix == ".yuv" else ()
        subprocess.run(
            [
                str(ffmpeg.path),
                "-hide_banner",
                "-loglevel",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                source,
                "-frames:v",
                str(frames),
                *pix_fmt,
                *codec,
                *form,
                str(path),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return path

    return make


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """A folder of four sources in three kinds of file, one of them in a sub-folder."""

    def make(folder: Path) -> None:
        (folder / "more").mkdir()
        make_clip(folder / "Bars_320x180_25fps_8bit_420.yuv", "Bars")
        make_clip(folder / "Fractal.mkv", "Fractal")
        make_clip(folder / "Cells.y4m", "Cells")
        make_clip(folder / "more" / "Life.mkv", "Life")

    return shared(tmp_path_factory, "clips", make)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which nothing of the user's is read or written."""
    place = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if name not in ("FFMPEG_BIN", "LIBVMAF_BIN")}
    return kept | {"HOME": str(place), "XDG_CACHE_HOME": str(place / "cache"), "XDG_STATE_HOME": str(place / "state")}


@pytest.fixture(scope="session")
def kit(home: dict[str, str]) -> Kit:
    """Run ``python3 -m kit ARGS`` as a process: ``kit("run", "--epochs", "2", cwd=folder, env={...})``."""

    def start(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), *args],
            cwd=cwd,
            env=home | (env or {}),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return start


@pytest.fixture
def command() -> Iterator[Command]:
    """The command line within this process."""
    with in_process() as main:
        yield main


@pytest.fixture
def kit_here(
    command: Command, home: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Kit:
    """As ``kit``, but within this process: without its start, where a test is about what a command does."""

    def run(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with monkeypatch.context() as patched:
            for name in os.environ.keys() - home.keys():
                patched.delenv(name)
            for name, value in (home | (env or {})).items():
                patched.setenv(name, value)
            patched.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            patched.setattr(sys, "argv", ["kit", *args])
            patched.chdir(cwd)
            code = command(args)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(args, code, said.out, said.err)

    return run


@pytest.fixture
def ask(command: Command, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What a command prints as JSON and what it says: ``ask("eval", "--model", M, …, code=2)``."""

    def run(*argv: object, code: int = exits.OK) -> tuple[dict[str, Any], str]:
        found = command([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        assert found == code, err
        return json.loads(out) if out else {}, " ".join(err.split())

    return run


@pytest.fixture
def line_table(tmp_path: Path) -> Path:
    """A feature table whose score is a line of its features."""
    from kit.features import table
    from tests.features.builders import LINE

    table.write(tmp_path / "f.parquet", LINE, facts={})
    return tmp_path / "f.parquet"


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """A model that names a file of weights which was renamed since."""
    from tests.models.builders import renamed_model

    return renamed_model(tmp_path / "old")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, kit: Kit, clips: Path) -> Path:
    """The folder of a finished run on ``clips``; copy it before changing it."""

    def make(place: Path) -> None:
        done = kit("run", "--ref-dir", str(clips), "--out-dir", str(place / "run"), *QUICK, cwd=place)
        assert done.returncode in (0, 1), done.stderr

    return shared(tmp_path_factory, "finished", make) / "run"


@pytest.fixture
def run_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on made-up rows with the verdict PROMOTE; copy it before changing it."""
    from kit.corpus.store.shard import read_manifest
    from kit.steps import step_03_train, step_04_verdict

    def make(place: Path) -> None:
        config, session = run_folder(place / "run")
        trained = step_03_train.run(config, read_manifest(config.out_dir / layout.CORPUS), session)
        assert step_04_verdict.run(config, trained, session).word == "PROMOTE"

    return shared(tmp_path_factory, "promoted", make) / "run"


@pytest.fixture(scope="session")
def mounting() -> list[str]:
    """The beginning of a command line that may mount."""
    begin = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*begin, "mount", "-t", "tmpfs", "none", "/mnt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("unshare cannot give a namespace to mount in")
    return begin


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root and the mount command")
    argv = [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(argv, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not allow mounting a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)
