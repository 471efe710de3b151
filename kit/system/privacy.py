"""What leaves the box names no user, host or absolute path. Pure; the facts to hide are passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

#: What may stand before a path: nothing that belongs to a longer one, unless it is an escape or an option's letter.
_BEFORE = r"(?:(?<![\w<>./-])|(?<=\\[nrt])|(?<=\s-[A-Za-z]))"
#: An absolute path: at the start or after a delimiter, two components at least, up to the next delimiter.
_ABSOLUTE = re.compile(rf"{_BEFORE}(?:file:)?(?:/|(?<!:)//+)(?:[^\s/:'\"<>|,;()\[\]]+/)+([^\s/:'\"<>|,;()\[\]]*)")


@dataclass(frozen=True, kw_only=True)
class Redactor:
    """Replaces known folders by tokens, then every other absolute path by its last name.

    Attributes:
        folders: folder to token, e.g. the reference folder to ``<ref>``.
        words: user and host names to token; only whole words are replaced.
    """

    folders: Mapping[Path, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        for folder, token in sorted(self.folders.items(), key=lambda item: -len(str(item[0]))):
            text = re.sub(rf"{_BEFORE}(?:file:)?{re.escape(str(folder))}(?![\w-]|\.\w)", token, text)
        text = _ABSOLUTE.sub(r"<path>/\1", text)
        return self._named(text)

    def path(self, text: str) -> str:
        """The same of a path, or an item of a command line (``--out=PATH``, ``NAME=PATH``): it may hold spaces.

        Of a path that climbs out of the working folder the last name is left, too.
        """
        named = re.match(r"[\w.-]+=", text)
        option = named[0] if named else ""
        value = PurePath(text.removeprefix(option))
        told = self(text.removeprefix(option))
        hidden = told.startswith("<path>") or ".." in value.parts
        return self(option) + (f"<path>/{self._named(value.name)}" if hidden else told)

    def _named(self, text: str) -> str:
        for word, token in self.words.items():
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", token, text)
        return text
