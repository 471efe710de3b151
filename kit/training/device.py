"""The device that stacks are trained on, and why."""

from __future__ import annotations

from dataclasses import dataclass

from kit.core.errors import PrerequisiteFailed


@dataclass(frozen=True, kw_only=True)
class Device:
    """``kind`` is cpu, cuda or mps, as torch names them; ``reason`` says why it was chosen."""

    kind: str
    reason: str


def choose(requested: str) -> Device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``mps``.

    ``auto`` takes CUDA where torch can use it, else the CPU: a stack is many small matrices, and MPS has not been
    measured to be faster with them.

    Raises:
        PrerequisiteFailed: torch cannot use the device that was requested by name.
    """
    if requested == "cpu":
        return Device(kind=requested, reason="requested")  # without torch, whose import takes two seconds
    import torch

    problem = {"cuda": _no_cuda(), "mps": _no_mps()}
    if problem.get(requested):
        raise PrerequisiteFailed(f"--device {requested}: {problem[requested]}", hint="Leave --device out, or use cpu.")
    if requested != "auto":
        return Device(kind=requested, reason="requested")
    if not problem["cuda"]:
        return Device(kind="cuda", reason=f"torch can use {torch.cuda.get_device_name()}")
    return Device(kind="cpu", reason=problem["cuda"] + ("" if problem["mps"] else "; --device mps would use Metal"))


def _no_cuda() -> str:
    import torch

    if torch.cuda.is_available():
        return ""
    return "torch finds no CUDA device" if torch.version.cuda else "this torch was built without CUDA"


def _no_mps() -> str:
    import torch

    return "" if torch.backends.mps.is_available() else "torch finds no MPS device"
