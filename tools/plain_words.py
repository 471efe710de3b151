"""List words of a private dialect in tracked text, and fail if there are any: ``python tools/plain_words.py [FILE …]``.

The words and what to write instead are the glossary of CONTRIBUTING.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What is searched, ignoring case.
FORBIDDEN = (
    r"(?<!\")(?<!\]\.)\b_?told\b",  # but the key of merge.json
    r"\bfound wanting\b",
    r"(?<![\"`])\bwanting\b",  # the key of a manifest is a contract
    r"\bheld against\b",
    r"\bholds \w+ against\b",
    r"\b(is|are) put up with\b",
    r"\bmend(s|ed|ing)?\b",
    r"\blie(s)? (in|on|at|beside|there|under|elsewhere|outside)\b",
    r"\bstand(s)? (in|on|at|beside|there|under|elsewhere)\b",
    r"\bwhatever\b",
    r"\bof (its|their|his|one's) own accord\b",
    r"(?-i:\bis none\b(?! %}))",
)
#: Files that name the words, or quote what was written before.
SKIPPED = ("CONTRIBUTING.md", "CHANGELOG.md", "tools/plain_words.py")


def tracked() -> list[str]:
    """Paths of the text files that git knows, relative to the root."""
    argv = ["git", "-C", str(ROOT), "ls-files", "*.py", "*.md", "*.toml", "*.json", "*.j2", "*.yml", "*.yaml"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()


def main(names: list[str]) -> int:
    """Print every line with a forbidden word; return 1 if there is one."""
    pattern = re.compile("|".join(FORBIDDEN), re.IGNORECASE)
    failed = False
    for name in names or tracked():
        if name in SKIPPED or not (ROOT / name).is_file():
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if match := pattern.search(line):
                print(f"{name}:{number}: {match[0]!r} is no plain English, see the glossary in CONTRIBUTING.md")
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
