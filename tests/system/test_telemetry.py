"""Every process that the kit starts has telemetry switched off."""

from __future__ import annotations

import sys

import pytest

from kit.system.proc import Processes
from kit.system.telemetry import SETTINGS, disable


def test_a_started_process_has_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    code = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = Processes().run([sys.executable, "-c", code], tried="looking", timeout=60)
    assert done.stdout == b"1\n"


def test_a_setting_of_the_user_does_not_switch_it_on() -> None:
    environ = {"ORT_DISABLE_TELEMETRY": "0", "HOME": "/x"}
    disable(environ)
    assert environ == {"ORT_DISABLE_TELEMETRY": "1", "HOME": "/x"}
