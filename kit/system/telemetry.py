"""onnxruntime's telemetry, which the kit keeps off in its own process and in every process that it starts.

Version 1.31 and later writes a device id and a queue of events below the user's cache folder and sends them, unless
the variable is set when the library is loaded.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from types import MappingProxyType

#: What the environment of every process has.
SETTINGS = MappingProxyType({"ORT_DISABLE_TELEMETRY": "1"})


def disable(environ: MutableMapping[str, str]) -> None:
    """Switch the telemetry off in an environment."""
    environ.update(SETTINGS)
