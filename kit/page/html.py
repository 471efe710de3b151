"""The page as one HTML file that loads nothing and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from kit import __version__
from kit.page.blocks import Section
from kit.page.headline import Headline

_HERE = Path(__file__).parent
#: Reasons shown at once; the others are folded.
MOST_REASONS = 12


def html(head: Headline, title: str, sections: Sequence[Section]) -> str:
    """Render the page; every text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        head=head,
        title=title,
        sections=sections,
        version=__version__,
        policy=policy,
        reasons=MOST_REASONS,
        style=Markup(style),  # noqa: S704 - both are files of the kit
        script=Markup(script),  # noqa: S704
    )


def _hash(text: str) -> str:
    """Return the hash by which a content security policy allows a style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
