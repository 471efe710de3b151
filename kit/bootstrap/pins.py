"""What requirements-frozen.txt says: the pins, where each of them applies, and how much there is to download.

Pure functions over text; standard library only. A line of the file is one of

    # CUDA packages of torch: 2100.5 MB linux-x86_64, 2300.1 MB linux-aarch64
    name==version  # 0.1 MB
    name==version ; sys_platform != "darwin" or platform_machine != "x86_64"  # 16.9 MB linux-x86_64

where a size without a platform holds on all of them, and MB are 10^6 bytes of wheel.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kit.core.errors import KitError

EVERYWHERE = ""
CUDA_NOTE = "# CUDA packages of torch:"
PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!]+)(\s*;\s*(?P<marker>[^#]+?))?\s*")
SIZE = re.compile(r"(?P<mb>\d+(\.\d+)?) MB(?: (?P<key>[a-z0-9_-]+))?")
COMPARISON = re.compile(r"(?P<variable>\w+)\s*(?P<symbol>==|!=|<=|>=|<|>)\s*\"(?P<value>[\w.]+)\"")
Version = tuple[int, ...]
COMPARE: Mapping[str, Callable[[Version, Version], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class BadPins(KitError):
    """The requirements are not in the form this module writes down; exit status 70."""

    def __init__(self, found: str) -> None:
        super().__init__(f"requirements-frozen.txt is damaged: {found}", hint="unpack the kit again")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Where packages are installed: `sys.platform`, the machine's name, and the Python version as ``3.12``."""

    system: str
    machine: str
    python: str

    @property
    def key(self) -> str:
        return f"{self.system}-{self.machine}"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One package at one version; `megabytes` maps a platform's key, or EVERYWHERE, to its wheel's size."""

    name: str
    version: str
    marker: str
    megabytes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Requirements:
    pins: tuple[Pin, ...]
    cuda_megabytes: Mapping[str, float]
    sha256: str

    def on(self, platform: Platform) -> tuple[Pin, ...]:
        return tuple(pin for pin in self.pins if applies(pin.marker, platform))


@dataclass(frozen=True, kw_only=True)
class Download:
    """What there is to fetch: megabytes of wheels, how many of them are CUDA packages, and packages of unknown size."""

    packages: int
    megabytes: float
    cuda_megabytes: float
    unknown: tuple[str, ...]


def parse(text: str) -> Requirements:
    """Read the text of requirements-frozen.txt.

    Raises:
        BadPins: a line is neither a comment nor an exact pin with a marker this module can evaluate.
    """
    pins = []
    cuda: Mapping[str, float] = {}
    for line in text.splitlines():
        if line.startswith(CUDA_NOTE):
            cuda = sizes(line)
        content, _, comment = line.partition("#")
        if not content.strip():
            continue
        found = PIN.fullmatch(content.strip())
        if found is None:
            raise BadPins(repr(line))
        pins.append(
            Pin(
                name=normal(found["name"]),
                version=found["version"],
                marker=found["marker"] or "",
                megabytes=sizes(comment),
            )
        )
    if not pins:
        raise BadPins("it pins nothing")
    return Requirements(pins=tuple(pins), cuda_megabytes=cuda, sha256=hashlib.sha256(text.encode()).hexdigest())


def sizes(comment: str) -> Mapping[str, float]:
    return {found["key"] or EVERYWHERE: float(found["mb"]) for found in SIZE.finditer(comment)}


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def applies(marker: str, platform: Platform) -> bool:
    """Evaluate comparisons joined by ``and`` and ``or``; ``and`` binds tighter, there are no parentheses.

    Raises:
        BadPins: the marker holds anything else.
    """
    if not marker:
        return True
    # Every part is looked at, also those that cannot change the result: a marker is understood in full or not at all.
    alternatives = [
        [_holds(comparison, platform) for comparison in re.split(r"\s+and\s+", alternative)]
        for alternative in re.split(r"\s+or\s+", marker.strip())
    ]
    return any(all(alternative) for alternative in alternatives)


def _holds(comparison: str, platform: Platform) -> bool:
    found = COMPARISON.fullmatch(comparison)
    if found is None:
        raise BadPins(f"unknown marker {comparison!r}")
    variable, symbol, value = found["variable"], found["symbol"], found["value"]
    if variable == "python_version" and re.fullmatch(r"\d+\.\d+", value):
        return COMPARE[symbol](_numbers(platform.python), _numbers(value))
    names = {"sys_platform": platform.system, "platform_machine": platform.machine}
    if variable in names and symbol in {"==", "!="}:
        return (names[variable] == value) == (symbol == "==")
    raise BadPins(f"unknown marker {comparison!r}")


def _numbers(version: str) -> Version:
    return tuple(int(part) for part in version.split("."))


def lacking(pins: Sequence[Pin], version_of: Callable[[str], str | None]) -> str:
    """The first pin that is not installed at its version, in words; "" when all of them are.

    A local version counts as its public one: torch 2.13.0+cpu is a torch 2.13.0.

    Args:
        pins: those that apply here.
        version_of: the installed version of a package, None when it is not installed.
    """
    for pin in pins:
        found = version_of(pin.name)
        if found is None:
            return f"{pin.name} {pin.version} is not installed"
        if found.partition("+")[0] != pin.version:
            return f"{pin.name} is {found}, not {pin.version}"
    return ""


def to_download(requirements: Requirements, platform: Platform, *, torch_from_elsewhere: bool) -> Download:
    """Sum the sizes for `platform`.

    Args:
        torch_from_elsewhere: torch comes from an index of the user's choice: its size is unknown, and whether it
            brings CUDA packages too.
    """
    known, unknown = 0.0, []
    pins = requirements.on(platform)
    for pin in pins:
        size = pin.megabytes.get(platform.key, pin.megabytes.get(EVERYWHERE))
        if size is None or (pin.name == "torch" and torch_from_elsewhere):
            unknown.append(pin.name)
        else:
            known += size
    with_torch = not torch_from_elsewhere and any(pin.name == "torch" for pin in pins)
    cuda = requirements.cuda_megabytes.get(platform.key, 0.0) if with_torch else 0.0
    return Download(packages=len(pins), megabytes=known + cuda, cuda_megabytes=cuda, unknown=tuple(unknown))
