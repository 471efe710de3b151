"""Write requirements-frozen.txt from the dependencies and extras in pyproject.toml.

One version of every package for all platforms and Pythons, with the hashes of its wheels, in sections by group. Needs
``uv``, which reads its own configuration; no index is written down.

    python tools/freeze.py [--upgrade]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kit.bootstrap.early import SUPPORTED  # noqa: E402 - the kit is found through the line above
from kit.bootstrap.pins import GROUPS, SETUP  # noqa: E402 - the kit is found through the line above

HEADER = """\
# Every package of the kit's environment at one version, the same on all platforms, with the hashes of its wheels.
# Written by tools/freeze.py from pyproject.toml; do not edit. A group needs those above it, except for `setup`.
# torch is pinned in pyproject.toml and installed by itself; its CUDA packages follow from the build that is chosen.
"""
#: torch, and what only its CUDA builds need.
NOT_LISTED = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
COMPILE = (
    *("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--only-binary", ":all:"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
)
#: Where every package needs a wheel: glibc 2.28 is that of Debian 10 and RHEL 8.
OLDEST_MACOS = "14.0"
PLATFORMS = (
    *("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"),
    *("aarch64-apple-darwin", "x86_64-apple-darwin"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="write requirements-frozen.txt")
    parser.add_argument("--output", type=Path, default=ROOT / "requirements-frozen.txt")
    parser.add_argument("--upgrade", action="store_true", help="choose new versions instead of those in the file")
    options = parser.parse_args()
    known = "" if options.upgrade or not options.output.exists() else options.output.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = list(project["optional-dependencies"])
    # The whole first: a version that only an extra restricts must be the same without this extra.
    whole = locked(extras, known)
    sections = {SETUP: locked(None, known)}
    done: set[str] = set()
    for number, group in enumerate(GROUPS):
        names = set(locked(list(GROUPS[1 : number + 1]), "".join(whole.values()))) - done
        sections[group] = {name: whole[name] for name in whole if name in names}
        done |= names
    parts = [f"\n# group: {group}\n{''.join(entries.values())}" for group, entries in sections.items()]
    options.output.write_text(HEADER + "".join(parts))
    check_wheels(options.output)
    print(", ".join(f"{group}: {len(entries)} packages" for group, entries in sections.items()))
    return 0


def locked(extras: list[str] | None, versions: str) -> dict[str, str]:
    """Return each package's lines as uv writes them; `versions` are preferred, extras None stands for the set-up."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "locked.txt")
        output.write_text(versions)
        source = ["--group", f"pyproject.toml:{SETUP}"] if extras is None else ["pyproject.toml"]
        chosen = [word for extra in extras or () for word in ("--extra", extra)]
        subprocess.run([*COMPILE, *source, *chosen, "--output-file", str(output)], cwd=ROOT, check=True)
        entries = re.findall(r"^([^\s=#]+)(==(?:.+\n)(?:    .+\n)*)", output.read_text(), re.MULTILINE)
    packages: dict[str, str] = {}
    for name, rest in entries:
        if NOT_LISTED.fullmatch(name):
            continue
        if name in packages:
            raise SystemExit(f"{name} is locked at more than one version; restrict it in pyproject.toml")
        packages[name] = name + rest
    return packages


def check_wheels(output: Path) -> None:
    """Let uv find a wheel of every package for each platform and Python; it names those that have none."""
    check = ("uv", "pip", "compile", "--quiet", "--no-deps", "--only-binary", ":all:", str(output))
    for platform in PLATFORMS:
        for major, minor in SUPPORTED:
            place = ("--python-platform", platform, "--python-version", f"{major}.{minor}")
            environ = os.environ | {"MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
            subprocess.run([*check, *place], stdout=subprocess.DEVNULL, env=environ, check=True)


if __name__ == "__main__":
    sys.exit(main())
