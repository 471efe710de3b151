"""Canonical JSON and hashes over it: the same value gives the same bytes on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def canonical_json(value: object) -> bytes:
    """Serialise with sorted keys, no spaces, ASCII only.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have.
        TypeError: a type that JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def sha256_json(value: object) -> str:
    """Return the SHA-256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_chunks(header: bytes, chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of ``header`` followed by every chunk, 64 hex digits."""
    digest = hashlib.sha256(header)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
