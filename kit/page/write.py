"""Write the folder of a page from a run folder."""

from __future__ import annotations

from pathlib import Path

from kit.core import layout
from kit.page.blocks import Figures
from kit.page.gather import gather
from kit.page.headline import headline
from kit.page.html import html
from kit.page.markdown import markdown
from kit.page.sections import sections
from kit.system.fsio import write_bytes

_FIGURES = "figures"


def write(run: Path, out: Path) -> None:
    """Write page, Markdown and figures into a folder; the same run gives the same bytes.

    Raises:
        Missing, BadInput, CheckFailed: a file of the run folder is missing or damaged.
    """
    facts = gather(run)
    head, parts = headline(facts.verdict, facts.losses), tuple(sections(facts))
    boxes = ", ".join(box.name for box in facts.shard.boxes if box.box) or "an imported corpus"
    title = f"VMAF ensemble on {boxes}" + (", demo clips" if facts.verdict["demo"] else "")
    (out / _FIGURES).mkdir(parents=True)
    for part in parts:
        for block in part.blocks:
            for figure in block.figures if isinstance(block, Figures) else ():
                write_bytes(out / _FIGURES / f"{figure.name}.png", figure.png)
    write_bytes(out / Path(layout.REPORT_MARKDOWN).name, markdown(head, title, parts, _FIGURES).encode())
    write_bytes(out / Path(layout.REPORT_PAGE).name, html(head, title, parts).encode())
