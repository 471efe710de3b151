"""Compare the arguments of encoder families with ffmpeg's help; detects wrong options without a device."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kit.core.contract import CQ_RANGE, ENCODER_VOCAB
from kit.core.geometry import PIXEL_FORMATS
from kit.platforms.registry import family_of
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg

#: ``(from 0 to 51)``; ffmpeg has names for the limits of integers.
_RANGE = re.compile(r"\(from (\S+) to ([^\s)]+)\)")
_LIMITS = {
    "INT_MIN": -(2.0**31),
    "INT_MAX": 2.0**31 - 1,
    "I64_MAX": 2.0**63,
    "-I64_MAX": -(2.0**63),
    "FLT_MAX": 3.4e38,
    "-FLT_MAX": -3.4e38,
    "UINT32_MAX": 2.0**32 - 1,
}


@dataclass(frozen=True, kw_only=True)
class OptionHelp:
    """An option in ffmpeg's help: the range of a number, or the names of its values."""

    low: float | None = None
    high: float | None = None
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class OptionCheck:
    """The check of one option of one encoder.

    Attributes:
        values: its values over all quality points and pixel formats.
        allowed: the allowed values in ffmpeg's help.
        problem: what is wrong; empty if the option is correct.
    """

    encoder: str
    option: str
    values: tuple[str, ...]
    allowed: str
    problem: str


def parse_help(text: str) -> dict[str, OptionHelp]:
    """Parse the options of ``ffmpeg -h encoder=NAME`` or ``-h full``, name with dash to its first help."""
    options: dict[str, OptionHelp] = {}
    current = ""
    for line in text.splitlines():
        if option := re.match(r"^ {0,2}(-[\w-]+)(?:\[:\S*\])?\s", line):
            current = option[1]
            limits = _RANGE.search(line)
            low, high = (_limit(limits[1]), _limit(limits[2])) if limits else (None, None)
            options.setdefault(current, OptionHelp(low=low, high=high))
        elif current and (name := re.match(r"^ {5}(\w+) +(?:-?\d+ +)?[E.]", line)):
            known = options[current]
            options[current] = OptionHelp(low=known.low, high=known.high, names=known.names | {name[1]})
    return options


def _limit(text: str) -> float | None:
    try:
        return _LIMITS[text] if text in _LIMITS else float(text)
    except ValueError:
        return None


def used_values(encoder: str) -> dict[str, list[str]]:
    """Return every option of an encoder with its values over all variants, quality points and pixel formats."""
    family, cqs = family_of(encoder), range(CQ_RANGE[0], CQ_RANGE[1] + 1)
    values: dict[str, list[str]] = {}
    for variant, cq, pix_fmt in itertools.product(family.variants, cqs, PIXEL_FORMATS):
        argv = family.settings(encoder, cq, pix_fmt, variant).argv[2:]
        for option, value in zip(argv[::2], argv[1::2], strict=True):
            known = values.setdefault(option, [])
            if value not in known:
                known.append(value)
    return values


def check_options(ffmpeg: Ffmpeg, processes: Processes) -> tuple[OptionCheck, ...]:
    """Check the options of every encoder of the vocabulary.

    An encoder that this ffmpeg lacks has one line without a problem.
    """
    generic = parse_help(_help(ffmpeg, "full", processes))
    checks: list[OptionCheck] = []
    for encoder in ENCODER_VOCAB:
        text = _help(ffmpeg, f"encoder={encoder}", processes)
        if f"Encoder {encoder} " not in text:
            checks.append(OptionCheck(encoder=encoder, option="", values=(), allowed="not in this ffmpeg", problem=""))
            continue
        own = parse_help(text)
        checks += [
            _check(encoder, option, values, own.get(option) or generic.get(option.split(":")[0]))
            for option, values in used_values(encoder).items()
        ]
    return tuple(checks)


def _help(ffmpeg: Ffmpeg, topic: str, processes: Processes) -> str:
    done = processes.run(
        [str(ffmpeg.path), "-hide_banner", "-h", topic], tried=f"reading ffmpeg's help for {topic}", timeout=60
    )
    return done.stdout.decode("utf-8", "replace")


def _check(encoder: str, option: str, values: Sequence[str], known: OptionHelp | None) -> OptionCheck:
    if known is None:
        return OptionCheck(encoder=encoder, option=option, values=tuple(values), allowed="", problem="no such option")
    allowed = ", ".join(sorted(known.names)) or ("" if known.low is None else f"{known.low:g} to {known.high:g}")
    wrong = [value for value in values if not _fits(value, known)]
    problem = f"not allowed: {', '.join(wrong[:5])}" if wrong else ""
    return OptionCheck(encoder=encoder, option=option, values=tuple(values), allowed=allowed, problem=problem)


def _fits(value: str, known: OptionHelp) -> bool:
    if value in known.names:
        return True
    try:
        number = float(value)
    except ValueError:
        # a text option, e.g. x264's preset, has neither names nor a range
        return not known.names and known.low is None
    return known.low is None or known.high is None or known.low <= number <= known.high


def table(checks: Sequence[OptionCheck]) -> list[dict[str, str]]:
    """Return the checks as rows of texts; long lists of values as first and last."""
    rows = []
    for check in checks:
        shown = ", ".join(check.values) if len(check.values) < 5 else f"{check.values[0]} … {check.values[-1]}"
        result = check.problem or ("left out" if not check.option else "pass")
        rows.append(
            {
                "encoder": check.encoder,
                "option": check.option,
                "values": shown,
                "allowed": check.allowed,
                "result": result,
            }
        )
    return rows
