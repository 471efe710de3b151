"""Real processes: output, failures, time limits, and that none survives."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.core.errors import ToolFailed
from kit.system.proc import EXCERPT_LINES, Completed, Processes, Stopped, excerpt


def python(program: str, *args: str) -> list[str]:
    return [sys.executable, "-I", "-c", program, *args]


def shell(program: str) -> list[str]:
    return ["/bin/sh", "-c", program]


@pytest.fixture
def processes() -> Processes:
    return Processes()


def wait_for(test: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_output_and_working_folder(processes: Processes, tmp_path: Path) -> None:
    done = processes.run(shell("pwd -P; printf '\\377'; echo 'a b' >&2"), tried="x", timeout=10, cwd=tmp_path)
    assert done == Completed(stdout=str(tmp_path.resolve()).encode() + b"\n\xff", stderr="a b\n")


def test_arguments_reach_the_process_as_they_are(processes: Processes) -> None:
    odd = ["a b", "$HOME", "*", "'\"", "", "\n", "é"]
    done = processes.run(python("import sys; print(sys.argv[1:])", *odd), tried="x", timeout=20)
    assert done.stdout.decode().strip() == repr(odd)


def test_standard_input_is_empty(processes: Processes) -> None:
    assert processes.run(["cat"], tried="x", timeout=10).stdout == b""


def test_stderr_may_be_invalid_utf8(processes: Processes) -> None:
    assert processes.run(shell("printf '\\377x' >&2"), tried="x", timeout=10).stderr == "\ufffdx"


def test_a_lot_on_both_pipes(processes: Processes) -> None:
    program = "import sys\nfor _ in range(3000): sys.stdout.write('o' * 1000); sys.stderr.write('e' * 1000)"
    done = processes.run(python(program), tried="x", timeout=30)
    assert (len(done.stdout), len(done.stderr)) == (3_000_000, 3_000_000)


@pytest.mark.parametrize("status", [1, 2, 70, 255])
def test_a_failure_has_purpose_status_stderr_and_hint(processes: Processes, status: int) -> None:
    argv = shell(f"echo one >&2; echo; echo 'two words' >&2; exit {status}")
    with pytest.raises(ToolFailed) as error:
        processes.run(argv, tried="encoding Highway", timeout=10, hint="Try again.")
    failure = error.value
    assert (failure.tried, failure.returncode, failure.stderr_tail, failure.hint) == (
        "encoding Highway",
        status,
        "one\ntwo words",
        "Try again.",
    )
    assert failure.command.startswith("/bin/sh -c 'echo one")
    assert f"exit status {status}" in failure.message
    assert failure.exit_code == 2


def test_a_process_that_kills_itself_is_a_failure(processes: Processes) -> None:
    with pytest.raises(ToolFailed) as error:
        processes.run(shell("kill -SEGV $$"), tried="x", timeout=10)
    assert error.value.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("name", ["no-such-program-here", "/", "{folder}/plain"])
def test_a_program_that_cannot_be_started(processes: Processes, tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_text("not executable")
    with pytest.raises(ToolFailed) as error:
        processes.run([name.format(folder=tmp_path), "-x"], tried="asking", timeout=10, hint="Install it.")
    assert error.value.returncode is None
    assert error.value.tried == "asking"
    assert error.value.hint == "Install it."


def test_a_missing_working_folder(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(ToolFailed) as error:
        processes.run(["true"], tried="x", timeout=10, cwd=tmp_path / "no")
    assert error.value.returncode is None


def test_the_excerpt_keeps_both_ends() -> None:
    lines = [f"line {number}" for number in range(100)]
    kept = excerpt("\n\n".join(lines)).splitlines()
    assert kept == [*lines[:EXCERPT_LINES], "…", *lines[-EXCERPT_LINES:]]
    assert excerpt("\n".join(lines[: 2 * EXCERPT_LINES])).splitlines() == lines[: 2 * EXCERPT_LINES]
    assert excerpt(" \n\n") == ""
    assert excerpt("  a  \r\n b ") == "  a\n b"


def test_a_failure_has_an_excerpt_of_stderr(processes: Processes) -> None:
    program = "import sys\nfor n in range(5000): print('line', n, file=sys.stderr)\nsys.exit(1)"
    with pytest.raises(ToolFailed) as error:
        processes.run(python(program), tried="x", timeout=20)
    assert len(error.value.stderr_tail.splitlines()) == 2 * EXCERPT_LINES + 1
    assert error.value.stderr_tail.startswith("line 0\n")
    assert error.value.stderr_tail.endswith("line 4999")


def test_a_time_limit(processes: Processes) -> None:
    start = time.monotonic()
    with pytest.raises(ToolFailed) as error:
        processes.run(shell("echo begun >&2; exec sleep 60"), tried="x", timeout=0.3, hint="Or wait.")
    assert time.monotonic() - start < 2
    assert error.value.hint.endswith("Or wait.")
    assert error.value.stderr_tail == "begun"
    assert error.value.returncode == -signal.SIGTERM


IGNORES = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def test_a_process_that_ignores_sigterm_is_killed(processes: Processes) -> None:
    start = time.monotonic()
    with pytest.raises(ToolFailed) as error:
        processes.run(python(IGNORES), tried="x", timeout=1.0)
    assert error.value.returncode == -signal.SIGKILL
    assert 3 <= time.monotonic() - start < 6


def test_the_children_of_a_process_end_with_it(processes: Processes, tmp_path: Path) -> None:
    # a wrapper script around a program is such a process
    start = time.monotonic()
    with pytest.raises(ToolFailed):
        processes.run(shell(f"sleep 25 & echo $! > '{tmp_path}/pid'; wait"), tried="x", timeout=0.5)
    assert time.monotonic() - start < 5
    wait_for(lambda: not is_alive(int((tmp_path / "pid").read_text())), 2)


# -------------------------------------------------------------------------------------------------- stop


def in_thread(action: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def body() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - the test checks it
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, errors


def test_stop_ends_running_processes_at_once(processes: Processes, tmp_path: Path) -> None:
    def sleeper(name: str) -> Callable[[], Completed]:
        argv = shell(
            f"echo $$ > '{tmp_path}/{name}.new'; mv '{tmp_path}/{name}.new' '{tmp_path}/{name}'; exec sleep 60"
        )
        return lambda: processes.run(argv, tried="sleeping", timeout=60)

    started = [in_thread(sleeper(name)) for name in "ab"]
    wait_for(lambda: all((tmp_path / name).exists() for name in "ab"))
    start = time.monotonic()
    processes.stop()
    for thread, errors in started:
        thread.join(10)
        assert [type(error) for error in errors] == [Stopped]
    assert time.monotonic() - start < 1.5
    assert not any(is_alive(int((tmp_path / name).read_text())) for name in "ab")


def test_after_stop_nothing_starts(processes: Processes, tmp_path: Path) -> None:
    processes.stop()
    processes.stop()
    with pytest.raises(Stopped):
        processes.run(["touch", str(tmp_path / "x")], tried="x", timeout=10)
    with pytest.raises(Stopped), processes.stream(["touch", str(tmp_path / "x")], tried="x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_stop_ends_a_stream(processes: Processes) -> None:
    def read() -> None:
        with processes.stream(shell("echo a; exec sleep 60"), tried="x") as (stdout, _):
            begun.set() if stdout.readline() == b"a\n" else None
            stdout.read()

    begun = threading.Event()
    thread, errors = in_thread(read)
    assert begun.wait(10)
    processes.stop()
    thread.join(5)
    assert [type(error) for error in errors] == [Stopped]


# ------------------------------------------------------------------------------------------------ stream


def test_a_stream_to_its_end(processes: Processes) -> None:
    with processes.stream(shell("echo a; echo e1 >&2; echo b; echo e2 >&2"), tried="x") as (stdout, lines):
        assert stdout.read() == b"a\nb\n"
    assert lines == ["e1", "e2"]


def test_a_lot_of_stderr_does_not_block_a_stream(processes: Processes) -> None:
    program = "import sys\nfor _ in range(3000): print('e' * 1000, file=sys.stderr)\nprint('end')"
    with processes.stream(python(program), tried="x") as (stdout, lines):
        assert stdout.read() == b"end\n"
    assert len(lines) == 3000


def test_a_stream_of_a_process_that_fails(processes: Processes) -> None:
    with (
        pytest.raises(ToolFailed) as error,
        processes.stream(shell("echo a; echo 'no space' >&2; exit 5"), tried="reading", hint="h") as (stdout, _),
    ):
        assert stdout.read() == b"a\n"
    assert (error.value.tried, error.value.returncode, error.value.stderr_tail, error.value.hint) == (
        "reading",
        5,
        "no space",
        "h",
    )


def test_a_stream_whose_reader_fails_is_ended(processes: Processes) -> None:
    pids: list[int] = []

    def read() -> None:
        with processes.stream(shell("echo $$; exec sleep 60"), tried="x") as (stdout, _):
            pids.append(int(stdout.readline()))
            raise LookupError

    start = time.monotonic()
    with pytest.raises(LookupError):
        read()
    assert time.monotonic() - start < 2
    assert not is_alive(pids[0])


def test_a_stream_that_cannot_be_started(processes: Processes) -> None:
    with pytest.raises(ToolFailed) as error, processes.stream(["no-such-program"], tried="x"):
        pass
    assert error.value.returncode is None


# --------------------------------------------------------------------------------------------- redaction


def hide(text: str) -> str:
    return text.replace("secret", "<s>")


def test_errors_and_output_are_redacted() -> None:
    processes = Processes(hide)
    assert processes.describe(["cat", "/secret/a b"]) == "cat '/<s>/a b'"
    with pytest.raises(ToolFailed) as error:
        processes.run(shell("echo secret 1 >&2; exit 1"), tried="x", timeout=10)
    assert (error.value.stderr_tail, "secret" in error.value.message) == ("<s> 1", False)
    with pytest.raises(ToolFailed) as error:
        processes.run(["/secret/program"], tried="x", timeout=10)
    assert "secret" not in error.value.message
    with pytest.raises(ToolFailed) as error, processes.stream(shell("echo secret >&2; exit 1"), tried="x"):
        pass
    assert "secret" not in error.value.message
    assert processes.run(shell("echo secret; echo secret >&2"), tried="x", timeout=10) == Completed(
        stdout=b"secret\n", stderr="<s>\n"
    )


def test_the_log_is_redacted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="kit")
    Processes(hide).run(["echo", "secret"], tried="x", timeout=10)
    assert "start: echo '<s>'" in caplog.text or "start: echo <s>" in caplog.text
    assert "secret" not in caplog.text
