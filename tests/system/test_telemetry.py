"""Telemetry is switched off for any environment."""

from __future__ import annotations

from kit.system.telemetry import disable


def test_a_setting_of_the_user_does_not_switch_it_on() -> None:
    environ = {"ORT_DISABLE_TELEMETRY": "0", "HOME": "/x"}
    disable(environ)
    assert environ == {"ORT_DISABLE_TELEMETRY": "1", "HOME": "/x"}
