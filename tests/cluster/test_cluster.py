"""Workers of a Dask cluster make the same rows as one box, even if workers and clients die."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.core import exits
from kit.options.session import KIT_ROOT
from kit.system.fsio import SCRATCH_PREFIX
from tests.cli.builders import Kit
from tests.video.builders import MakeClip

pytestmark = pytest.mark.ffmpeg

CQS = ("--cqs", "25,37", "--box", "testbox")
ENCODERS = ("libsvtav1", "libx264")
#: Seconds that a process of a cluster may take to get ready.
PATIENCE = 90


class Cluster:
    """A scheduler and workers, each a process; those that still run at the end are killed."""

    def __init__(self, folder: Path, home: dict[str, str], stack: contextlib.ExitStack) -> None:
        self.folder, self._home, self._stack = folder, home, stack
        self.address = ""
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a process that writes a log."""
        with (self.folder / f"{name}.log").open("wb") as out:
            process = subprocess.Popen(argv, cwd=KIT_ROOT, env=self._home | environ, stdout=out, stderr=out)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def wait(self, name: str, text: str = "Ready at") -> None:
        """Wait until a log contains ``text``."""
        log = self.folder / f"{name}.log"
        wait_for(lambda: text in log.read_text() or "Error:" in log.read_text())
        assert text in log.read_text(), log.read_text()

    def schedule(self, *options: str, scheme: str = "tcp") -> subprocess.Popen[bytes]:
        """Start Dask's scheduler."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"{scheme}://127.0.0.1:{port}"
        process = self.start(
            "scheduler",
            sys.executable,
            "-m",
            "dask",
            "scheduler",
            "--host",
            self.address,
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
            *options,
        )
        self.wait("scheduler", "Scheduler at:")
        return process

    def work(self, name: str, ref_dir: Path, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker with its own folder for temporary files, without waiting until it is ready."""
        scratch = self.folder / name
        scratch.mkdir()
        self.workers[name] = self.start(
            name,
            sys.executable,
            str(KIT_ROOT / "kit" / "__main__.py"),
            "worker",
            "--scheduler",
            self.address,
            "--ref-dir",
            str(ref_dir),
            "--box",
            name,
            *options,
            TMPDIR=str(scratch),
        )
        return self.workers[name]


def wait_for(test: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in ("Bars", "Fractal", "Life"):
        make_clip(folder / f"{name}.mkv", name, frames=15)
    return folder


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> Path:
    """Two of the sources under other names."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(sources / "Fractal.mkv", folder / "One.mkv")
    shutil.copy(sources / "Life.mkv", folder / "Two.mkv")
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, sources: Path, kit: Kit) -> Path:
    """A run folder with the cells that one box makes."""
    folder = tmp_path_factory.mktemp("local")
    options = ("--ref-dir", str(sources), "--out-dir", "run", "--encoders", ",".join(ENCODERS), *CQS, "--shard-only")
    for command in (("prereqs", *options), ("corpus", "--out-dir", "run")):
        done = kit(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def run(local: Path, tmp_path: Path) -> Path:
    """A run folder with checked prerequisites and no cells."""
    return shutil.copytree(local, tmp_path / "run", ignore=shutil.ignore_patterns("corpus", "logs"))


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, home: dict[str, str], sources: Path, two_sources: Path
) -> Iterator[Cluster]:
    """Two workers with different encoders and different clips."""
    with contextlib.ExitStack() as stack:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), home, stack)
        cluster.schedule()
        cluster.work("attic", sources, "--encoders", "libx264")
        cluster.work("cellar", two_sources, "--encoders", "libsvtav1", "--no-anchor")
        cluster.wait("attic")
        cluster.wait("cellar")
        yield cluster


def cells_in(run: Path) -> dict[str, bytes]:
    """Return path to bytes of every finished cell."""
    folder = run / "corpus" / "cells"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("cq*.parquet")}


def boxes_in(run: Path) -> dict[str, str]:
    """Return path of the observations to the box that made the cell."""
    folder = run / "corpus" / "cells"
    observed = {path: json.loads(path.read_text()) for path in folder.rglob("*.observed.json")}
    return {path.relative_to(folder).as_posix(): value["observations"][0]["box"] for path, value in observed.items()}


@pytest.mark.essential
def test_workers_make_the_cells_they_can_with_the_rows_of_one_box(
    cluster: Cluster, run: Path, local: Path, kit: Kit
) -> None:
    address = cluster.address.removeprefix("tcp://")
    done = kit("corpus", "--out-dir", str(run), "--scheduler", address, "--worker-wait", "0", cwd=run)
    assert done.returncode == exits.INVALID, done.stderr
    expected = cells_in(local)
    # the worker with libsvtav1 does not have this clip
    impossible = {path for path in expected if path.startswith("Bars/libsvtav1/")}
    assert len(impossible) == 2
    assert cells_in(run) == {path: data for path, data in expected.items() if path not in impossible}
    failed = json.loads((run / "corpus" / "shard.json").read_text())["failed"]
    assert {(cell["source"], cell["encoder"]) for cell in failed} == {("Bars", "libsvtav1")}
    assert all("libsvtav1" in cell["reason"] and "Bars" in cell["reason"] for cell in failed)
    by_encoder = {(path.split("/")[1], box) for path, box in boxes_in(run).items()}
    assert by_encoder == {("libx264", "attic"), ("libsvtav1", "cellar")}
    boxes = json.loads((run / "corpus" / "shard.json").read_text())["boxes"]
    made = {box["box"]: (list(box["encoders"]), box["cells"]) for box in boxes if box["cells"]}
    assert made == {
        "attic": (["libx264"], sum("/libx264/" in path for path in boxes_in(run))),
        "cellar": (["libsvtav1"], sum("/libsvtav1/" in path for path in boxes_in(run))),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc, on Linux only")
def test_cells_are_made_after_workers_and_clients_die(  # noqa: PLR0917 - fixtures
    cluster: Cluster, run: Path, local: Path, sources: Path, home: dict[str, str], kit: Kit
) -> None:
    second = cluster.work("second", sources, "--encoders", "libsvtav1", "--no-anchor")
    cluster.wait("second")
    command = ("corpus", "--out-dir", str(run), "--scheduler", cluster.address)
    with subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), *command],
        env=home,
        cwd=run,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        # kill a worker in the middle of a cell
        wait_for(lambda: working_below(cluster.folder / "cellar"))
        cluster.workers["cellar"].kill()
        wait_for(lambda: not working_below(cluster.folder / "cellar"), 2)
        # terminate the client
        wait_for(lambda: cells_in(run))
        client.send_signal(signal.SIGTERM)
        _, stderr = client.communicate(timeout=20)
    assert client.returncode == exits.TERMINATED, stderr
    assert "Traceback" not in stderr
    kept = {path: path.stat().st_mtime_ns for path in run.rglob("cells/**/cq*.parquet")}
    done = kit(*command, cwd=run)
    assert done.returncode == 0, done.stderr
    assert cells_in(run) == cells_in(local)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    shard, theirs = (json.loads((one / "corpus" / "shard.json").read_text()) for one in (run, local))
    assert (shard["cells"], shard["corpus_sha256"]) == (theirs["cells"], theirs["corpus_sha256"])
    # interrupt a worker
    second.send_signal(signal.SIGINT)
    assert second.wait(20) == exits.INTERRUPTED
    assert not list((cluster.folder / "second").glob(SCRATCH_PREFIX + "*"))


def working_below(folder: Path) -> list[str]:
    """Return the ids of ffmpeg processes that work below ``folder``."""
    ids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder) and b"ffmpeg" in (process / "cmdline").read_bytes():
                ids.append(process.name)
    return ids


def certificate(folder: Path, name: str, authority: str = "") -> tuple[str, ...]:
    """Make a certificate, signed by an authority or by itself, and return the options for it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("making certificates needs the program openssl")
    signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key") if authority else ()
    made = subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-out",
            f"{name}.pem",
            "-keyout",
            f"{name}.key",
            *signed,
        ],
        cwd=folder,
        check=False,
        capture_output=True,
    )
    if made.returncode != 0:
        pytest.skip("making certificates needs openssl 3")
    files = {"ca": f"{authority}.pem", "cert": f"{name}.pem", "key": f"{name}.key"}
    return tuple(word for kind, file in files.items() for word in (f"--tls-{kind}", str(folder / file)))


def test_certificates_are_required_and_checked(
    run: Path, two_sources: Path, home: dict[str, str], tmp_path: Path, kit: Kit
) -> None:
    certificate(tmp_path, "authority")
    certificate(tmp_path, "other")
    own, foreign = certificate(tmp_path, "box", "authority"), certificate(tmp_path, "spy", "other")
    with contextlib.ExitStack() as stack:
        guarded = Cluster(tmp_path, home, stack)
        scheduler = guarded.schedule(
            *(word.replace("--tls-ca", "--tls-ca-file") for word in own), "--protocol", "tls", scheme="tls"
        )
        command = ("corpus", "--out-dir", str(run), "--scheduler", guarded.address, "--worker-wait", "0")
        early = kit(*command, *own, cwd=run)
        assert early.returncode == exits.BAD_INPUT
        assert "no worker" in early.stderr
        worker = guarded.work("safe", two_sources, "--encoders", "libx264", *own)
        guarded.wait("safe")
        refused = kit(*command, *foreign, cwd=run)
        assert refused.returncode == exits.BAD_INPUT
        assert guarded.address in refused.stderr
        assert "certificate verify failed" in refused.stderr
        assert cells_in(run) == {}
        done = kit(*command, *own, "--allow-partial", cwd=run)
        assert done.returncode == 0, done.stderr
        assert set(boxes_in(run).values()) == {"safe"}
        assert len(cells_in(run)) == 6
        # a worker ends with its scheduler
        scheduler.terminate()
        assert worker.wait(20) == 0
        assert "6 cells" in (tmp_path / "safe.log").read_text()
