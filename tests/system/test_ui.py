"""What is shown: durations, sizes, and lines where there is no terminal."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from kit.system import ui
from kit.system.ui import Row, Ui, duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (89.4, "89 s"),
        (89.6, "1 min 30 s"),
        (90, "1 min 30 s"),
        (200, "3 min 20 s"),
        (3605, "60 min 05 s"),
        (5399, "89 min 59 s"),
        (5400, "1 h 30 min"),
        (7500, "2 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1550, "1.6 kB"),
        (2_000_000, "2.0 MB"),
        (3.21e9, "3.2 GB"),
        (4.5e12, "4.5 TB"),
        (1e16, "10000.0 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def shown(screen: io.StringIO) -> Ui:
    """Off a terminal."""
    return Ui(Console(file=screen, force_terminal=False, highlight=False, soft_wrap=True, width=100))


def control_characters(text: str) -> set[str]:
    return {char for char in text if ord(char) < 32 and char != "\n"} | {char for char in text if 126 < ord(char) < 160}


def test_without_a_terminal_there_are_no_control_characters(shown: Ui, screen: io.StringIO) -> None:
    shown.say("Step 1 of 5: prereqs")
    shown.table("Findings", ("check", "result"), [Row(cells=("disk", "failure"), style="bold red")])
    with shown.progress("Encoding", 3, "cells") as advance:
        for name in "abc":
            advance(name)
    text = screen.getvalue()
    assert control_characters(text) == set()
    for word in ("Step 1 of 5: prereqs", "Findings", "disk", "failure", "Encoding: 3/3"):
        assert word in text


def test_what_stands_in_a_message_is_shown_as_it_is(shown: Ui, screen: io.StringIO) -> None:
    text = "[bold]x[/bold] [/nothing] [link=a]b a[0] C:\\[x]"
    shown.say(text)
    shown.table("[t]", ("[c]",), [Row(cells=("[red]cell[/red]",))])
    assert screen.getvalue().startswith(text + "\n")
    for shown_as_is in ("[t]", "[red]cell[/red]"):
        assert shown_as_is in screen.getvalue()


@pytest.mark.parametrize("text", ["-map 0:v:0 -map 0:a:0", ":smile:", "[0:v:0]settb=1/25", "ends with \\"])
def test_colons_and_backslashes_are_no_markup(shown: Ui, screen: io.StringIO, text: str) -> None:
    shown.say(text)
    shown.table(text, (text,), [Row(cells=(text,))])
    with shown.progress(text, 1, "cells") as advance:
        advance(text)
    assert screen.getvalue().startswith(text + "\n")
    assert screen.getvalue().count(text) == 6


def test_a_long_cell_wraps_and_loses_nothing(screen: io.StringIO) -> None:
    narrow = Ui(Console(file=screen, force_terminal=False, width=40))
    words = [f"word{number}" for number in range(30)]
    narrow.table("t", ("a", "b"), [Row(cells=("x", " ".join(words)))])
    assert all(word in screen.getvalue() for word in words)
    assert "…" not in screen.getvalue()


@pytest.mark.parametrize("width", [60, 120])
def test_the_room_goes_to_the_column_with_text(screen: io.StringIO, width: int) -> None:
    path = "/a/folder/" + "x" * 200
    narrow = Ui(Console(file=screen, force_terminal=False, width=width))
    narrow.table(
        "t",
        ("check", "result", "measured", "what to do"),
        [Row(cells=("disk", "pass", path, "")), Row(cells=("python", "pass", "3.12 and a few words more", ""))],
    )
    assert "what to do" not in screen.getvalue()  # a column without text takes no room
    lines = [line.split("│")[1:-1] for line in screen.getvalue().splitlines() if line.startswith("│")]
    assert {len(line[2]) for line in lines} == {width - 1 - len("│ python │ pass   │")}
    assert "".join(line[2].strip() for line in lines[:-1]).startswith(path)


def test_a_table_that_cannot_fit_becomes_lines(screen: io.StringIO) -> None:
    narrow = Ui(Console(file=screen, force_terminal=False, width=60))
    columns = [f"heading{number}" for number in range(9)]
    narrow.table("t", columns, [Row(cells=("value",) * 9), Row(cells=("",) * 8 + ("[b]",))])
    expected = ["t", "- heading0: value", *(f"  heading{number}: value" for number in range(1, 9)), "- heading8: [b]"]
    assert screen.getvalue().splitlines() == expected


@pytest.mark.parametrize(
    ("lines", "room", "widths"),
    [
        ([("a", "bb")], 10, [1, 2]),
        ([("head", "", "x" * 90)], 30, [4, 0, 26]),
        ([("head", "", "x" * 90)], 20, [4, 0, 16]),
        ([("head", "", "x" * 90)], 19, None),
        ([("few words here", "x y " * 30)], 40, [14, 26]),
    ],
)
def test_widths_of_columns(lines: list[tuple[str, ...]], room: int, widths: list[int] | None) -> None:
    assert ui.column_widths(lines, room) == widths


def test_a_long_message_stays_one_line(shown: Ui, screen: io.StringIO) -> None:
    shown.say("word " * 100)
    assert screen.getvalue().count("\n") == 1


def progress_lines(shown: Ui, screen: io.StringIO) -> list[str]:
    with shown.progress("Encoding", 5, "cells") as advance:
        for name in "abcde":
            advance(f"Highway/{name}")
    return screen.getvalue().splitlines()


def test_lines_of_progress_are_spaced(shown: Ui, screen: io.StringIO) -> None:
    lines = progress_lines(shown, screen)
    assert ui.LINE_EVERY == 15.0
    assert len(lines) == 1
    assert lines[0].startswith("Encoding: 5/5 ")
    assert lines[0].endswith("in all Highway/e")


def test_a_line_comes_whenever_the_time_has_passed(
    shown: Ui, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "LINE_EVERY", 0.0)
    lines = progress_lines(shown, screen)
    assert [line.split()[1] for line in lines] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert all(" left Highway/" in line for line in lines[:-1])


def test_rate_and_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0, 110.0, 140.0])
    monkeypatch.setattr("kit.system.ui.time.monotonic", lambda: next(clock))
    meter = ui._Meter(4, "cells")
    meter.advance(1)
    assert meter.rate() == "10.0 s a cell, 30 s left"
    meter.done = 3
    meter.total = 30
    assert meter.rate() == "3.3 s a cell, 90 s left".replace("90 s", "1 min 30 s")
    meter.done = meter.total = 80
    assert meter.rate() == "2.0 cells/s, 40 s in all"


def test_all_that_is_said_is_logged(shown: Ui, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="kit")
    shown.say("50% of [x]")
    shown.table("t", ("a", "b"), [Row(cells=("1", "2"))])
    assert [record.getMessage() for record in caplog.records] == ["50% of [x]", "t: 1 | 2"]


def test_a_narrow_terminal_shows_title_and_figures_without_a_bar(screen: io.StringIO) -> None:
    terminal = Ui(Console(file=screen, force_terminal=True, width=50, legacy_windows=False))
    with terminal.progress("Encoding", 2, "cells") as advance:
        advance("Highway/libx264/cq31 and a long remark about it", 2)
    assert "Encoding 2/2" in screen.getvalue()
    assert "━" not in screen.getvalue()


def test_on_a_terminal_there_is_a_bar(screen: io.StringIO) -> None:
    terminal = Ui(Console(file=screen, force_terminal=True, width=100))
    with terminal.progress("Encoding [x]", 2, "cells") as advance:
        advance("[/a]")
        advance("b")
    assert "Encoding [x]" in screen.getvalue()
    assert "2/2" in screen.getvalue()
