"""Messages, tables and progress for people: on stderr, with a bar on a terminal and spaced lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # rich is imported late: a start that shows nothing does without it
    from rich.console import Console
    from rich.progress import ProgressColumn
    from rich.table import Table
    from rich.text import Text

log = logging.getLogger("kit")

#: Width of the output off a terminal, in characters.
OFF_TERMINAL_WIDTH = 120
#: From this width on, progress has a bar and the time spent.
WIDTH_OF_BAR = 80
#: Words of up to this many characters are not broken in a table.
LONGEST_WORD = 16
#: Seconds between two lines of progress off a terminal.
LINE_EVERY = 15.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table; ``style`` only repeats what is in its cells."""

    cells: tuple[str, ...]
    style: str = ""


class Advance(Protocol):
    """Advances a progress by finished pieces of work."""

    def __call__(self, note: str, count: int = 1) -> None: ...


class Ui:
    """Writes messages, tables and progress; messages and tables are logged too."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        width = None if sys.stderr.isatty() else OFF_TERMINAL_WIDTH
        self.console = console or Console(stderr=True, highlight=False, width=width)

    def say(self, text: str) -> None:
        """Write one message on one line; the terminal may wrap it."""
        from rich.text import Text

        log.info("%s", text)
        self._print(Text(text), soft_wrap=True)

    def _print(self, content: Text | Table, *, soft_wrap: bool = False) -> None:
        """Print; a closed screen (``tee`` was killed) must not end hours of work."""
        try:
            self.console.print(content, soft_wrap=soft_wrap)
        except (OSError, ValueError, SystemExit) as error:  # rich ends the process on a broken pipe
            log.warning("output could not be written: %r", error)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Show a table; cells wrap instead of being cut, and a column without any text is left out.

        A screen that is too narrow for the columns gets one block of lines for each row instead.
        """
        from rich.table import Table
        from rich.text import Text

        for row in rows:
            log.info("%s: %s", title, " | ".join(row.cells))
        used = [i for i in range(len(columns)) if not rows or any(row.cells[i] for row in rows)]
        heads = [columns[i] for i in used]
        lines = [Row(cells=tuple(row.cells[i] for i in used), style=row.style) for row in rows]
        widths = column_widths([heads, *(line.cells for line in lines)], self.console.width - 3 * len(used) - 1)
        if widths is None:
            self._print(Text("\n".join([title, *(_block(heads, line) for line in lines)])), soft_wrap=True)
            return
        table = Table(title=Text(title), title_justify="left", show_header=any(heads))
        for head, width in zip(heads, widths, strict=True):
            table.add_column(Text(head), overflow="fold", width=width)
        for line in lines:
            table.add_row(*map(Text, line.cells), style=line.style)
        self._print(table)

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Show progress over ``total`` pieces of work; call the value with a note after one piece or several."""
        meter = _Meter(total, unit)
        with self.gauge(title) as show:

            def advance(note: str, count: int = 1) -> None:
                meter.advance(count)
                show(meter.done / total, f"{meter.done}/{total} {meter.rate()} {note}".rstrip())

            yield advance

    @contextlib.contextmanager
    def gauge(self, title: str) -> Iterator[Callable[[float, str], None]]:
        """Show the share done of some work; call the value with the share (0 to 1) and a text, at any rate."""
        if not self.console.is_terminal:
            yield self._lines(title)
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        name, note = "{task.description}", "{task.fields[note]}"
        columns: tuple[ProgressColumn, ...] = (TextColumn(f"{name} {note}", markup=False),)
        if self.console.width >= WIDTH_OF_BAR:
            columns = (
                TextColumn(name, markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn(note, markup=False),
            )
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task(title, total=1.0, note="")
            yield lambda share, text: bar.update(task, completed=share, note=text)

    def _lines(self, title: str) -> Callable[[float, str], None]:
        """Write a line every ``LINE_EVERY`` seconds, and one at the end."""
        last, over = time.monotonic(), False

        def show(share: float, text: str) -> None:
            nonlocal last, over
            now = time.monotonic()
            if now - last >= LINE_EVERY or (share >= 1 and not over):
                last, over = now, share >= 1
                self.say(f"{title}: {text}")

        return show


def column_widths(lines: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Share out the characters of a line among the columns of a table.

    A column is never narrower than its longest word (of up to ``LONGEST_WORD`` characters); what remains goes to the
    columns with the longest text.

    Args:
        lines: the cells of every line, the head included.
        room: characters for all columns together.

    Returns:
        A width for each column; None where not even the longest words fit.
    """
    from rich.cells import cell_len

    full, least = [], []
    for cells in zip(*lines, strict=True):
        full.append(max(cell_len(line) for cell in cells for line in cell.split("\n")))
        words = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
        least.append(min(words, LONGEST_WORD))
    if sum(least) > room:
        return None
    widths = least
    for level in range(1, room + 1):
        wider = [max(low, min(level, high)) for low, high in zip(least, full, strict=True)]
        if sum(wider) > room:
            break
        widths = wider
    return widths


def _block(heads: Sequence[str], line: Row) -> str:
    """Format a row of a table as lines of their own, one for each cell with text."""
    texts = [f"{head}: {cell}" if head else cell for head, cell in zip(heads, line.cells, strict=True) if cell]
    return "\n".join(f"{'  ' if i else '- '}{text}" for i, text in enumerate(texts))


class _Meter:
    """Estimates rate and remaining time from the finished work."""

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._start = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count

    def rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        left = (self.total - self.done) * seconds / max(self.done, 1)
        speed = self.done / seconds
        shown = f"{speed:.1f} {self.unit}/s" if speed >= 1 else f"{1 / speed:.1f} s a {self.unit.rstrip('s')}"
        return f"{shown}, {duration(left)} left" if self.done < self.total else f"{shown}, {duration(seconds)} in all"


def figure(value: float | None, digits: int) -> str:
    """Format a figure with so many decimals; None is a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Format seconds: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(count: int, noun: str) -> str:
    """Format a number of things: ``1 clip``, ``2 clips``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: float) -> str:
    """Format bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
