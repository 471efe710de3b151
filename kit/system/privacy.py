"""Remove user names, host names and absolute paths from texts that leave the box. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

#: Context before a path: no part of a longer path, but an escape or an option's letter is allowed.
_BEFORE = r"(?:(?<![\w<>./-])|(?<=\\[nrt])|(?<=\s-[A-Za-z]))"
#: An absolute path: at the start or after a delimiter, at least two components, up to the next delimiter.
_ABSOLUTE = re.compile(rf"{_BEFORE}(?:file:)?(?:/|(?<!:)//+)(?:[^\s/:'\"<>|,;()\[\]]+/)+([^\s/:'\"<>|,;()\[\]]*)")


@dataclass(frozen=True, kw_only=True)
class Redactor:
    """Replace known folders by tokens, then every other absolute path by its last name.

    Attributes:
        folders: folder to token, e.g. the reference folder to ``<ref>``.
        words: user and host names to token; whole words only.
    """

    folders: Mapping[Path, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        for folder, token in sorted(self.folders.items(), key=lambda item: -len(str(item[0]))):
            text = re.sub(rf"{_BEFORE}(?:file:)?{re.escape(str(folder))}(?![\w-]|\.\w)", token, text)
        text = _ABSOLUTE.sub(r"<path>/\1", text)
        return self._without_words(text)

    def path(self, text: str) -> str:
        """Redact a path, or an item of a command line (``--out=PATH``, ``NAME=PATH``); it may contain spaces.

        Of a path with ``..``, only the last name is kept too.
        """
        prefix = re.match(r"[\w.-]+=", text)
        option = prefix[0] if prefix else ""
        path = PurePath(text.removeprefix(option))
        redacted = self(text.removeprefix(option))
        hidden = redacted.startswith("<path>") or ".." in path.parts
        return self(option) + (f"<path>/{self._without_words(path.name)}" if hidden else redacted)

    def _without_words(self, text: str) -> str:
        for word, token in self.words.items():
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", token, text)
        return text
