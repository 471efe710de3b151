"""The pinned packages: requirements-frozen.txt in sections by group, and torch's pin in pyproject.toml.

Standard library only, except for `applies`.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kit.core.errors import KitError

FILE = "requirements-frozen.txt"
#: Each group needs those before it, as far as they are installed.
GROUPS = ("base", "train", "tune", "test")
#: The tools that make the environment; not a part of it.
SETUP = "setup"
PIN = re.compile(r"^([\w.-]+)==([\w.!]+)(?:\s*;\s*(.*?))?(?: \\)?$", re.MULTILINE)


class DamagedPins(KitError):
    """The pins cannot be read; exit code 70."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{FILE} or pyproject.toml is damaged: {problem}", hint="Unpack the kit again.")


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What belongs in an environment.

    Args:
        sections: for each group the lines of its packages, with their hashes.
        torch: torch's requirement, which belongs to the group ``train``; empty without one.
        sha256: over all of it.
    """

    sections: dict[str, str]
    torch: str
    sha256: str

    def lines(self, groups: Sequence[str]) -> str:
        return "".join(self.sections[group] for group in groups)


def read_pins(root: Path) -> Pins:
    """Read the pins of the kit in the folder `root`.

    Raises:
        DamagedPins: a file or a group is missing, or cannot be parsed.
    """
    try:
        text = (root / FILE).read_text(encoding="utf-8")
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extra = project["optional-dependencies"]["train"]
    except (OSError, ValueError, KeyError) as exc:
        raise DamagedPins(f"{type(exc).__name__}: {exc}") from exc
    sections = dict(re.findall(r"^# group: (\w+)\n(.*?)(?=^# group: |\Z)", text, re.MULTILINE | re.DOTALL))
    if sections.keys() != {SETUP, *GROUPS}:
        raise DamagedPins(f"groups: {', '.join(sections)}")
    torch = next((line for line in extra if line.startswith("torch==")), "")
    return Pins(sections=sections, torch=torch, sha256=hashlib.sha256(f"{text}{torch}".encode()).hexdigest())


def installed_version(name: str) -> str | None:
    """Return the version of the package `name` that this interpreter would import, or None."""
    try:
        # A folder that only looks like a package's record has no version, in spite of the annotations.
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, KeyError, UnicodeDecodeError):
        return None


def difference(pins: Pins, groups: Sequence[str], version_of: Callable[[str], str | None] = installed_version) -> str:
    """Describe the first package of `groups` that is not installed as pinned; empty when all are.

    A local version counts as its public one: torch 2.13.0+cpu is a torch 2.13.0.
    """
    torch = pins.torch if "train" in groups else ""
    for name, version, marker in PIN.findall(f"{pins.lines(groups)}{torch}\n"):
        if marker and not applies(marker):
            continue
        installed = version_of(name)
        if installed is None:
            return f"{name} is not installed"
        if installed.partition("+")[0] != version:
            return f"{name} is {installed}, pinned is {version}"
    return ""


def applies(marker: str) -> bool:
    """Whether a package with this marker is needed here; yes without `packaging`, which is then missing anyway."""
    try:
        from packaging.markers import Marker
    except ImportError:
        return True
    return Marker(marker).evaluate()
