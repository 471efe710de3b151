"""Write requirements-frozen.txt from the dependencies in pyproject.toml.

One version of every package for all platforms and Pythons the kit supports, each checked to have a wheel for all of
them, with the wheels' sizes as comments. Needs ``uv`` and ``pip`` (both read their own configuration; an index is
never written down) and the package ``packaging``.

    python tools/freeze.py
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kit.bootstrap.early import SUPPORTED  # noqa: E402 - the kit is found through the line above
from kit.bootstrap.pins import CUDA_NOTE, Platform, applies, normal, parse  # noqa: E402

MACHINES = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64"))
PYTHONS = tuple(f"{major}.{minor}" for major, minor in SUPPORTED)
CELLS = tuple(
    Platform(system=system, machine=machine, python=python) for system, machine in MACHINES for python in PYTHONS
)

# Oldest systems whose wheels count: glibc 2.28 (Debian 10, RHEL 8) and macOS 14.
GLIBC = (2, 28)
MACOS = (14, 0)

OLD_NAMES = {"manylinux1": "manylinux_2_5", "manylinux2010": "manylinux_2_12", "manylinux2014": "manylinux_2_17"}

# Packages the kit can do without where nobody builds them; a wheel missing anywhere else is an error.
NOT_BUILT = {("darwin", "x86_64"): ("torch", "onnxruntime")}

# These come as torch's own dependencies where the chosen build of torch asks for them.
CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")

# Which Python's wheels are weighed where a package is needed for it; the others differ by a few percent.
WEIGHED = "3.13"

# The name under which the dependencies are locked.
PROJECT = "frozen"

HEADER = """\
# Every package of the kit's environment at one exact version, the same on all platforms.
# Written by tools/freeze.py from pyproject.toml; do not edit. Sizes are those of the wheels, in 10^6 bytes.
"""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A package, with some of its extras, that another one needs where the marker (any of PEP 508) holds."""

    name: str
    extras: tuple[str, ...]
    marker: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package of the lock: its version, its wheels' file names, and what it needs (per extra; "" is without)."""

    name: str
    version: str
    wheels: tuple[str, ...]
    needs: Mapping[str, tuple[Need, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="write requirements-frozen.txt")
    parser.add_argument("--pyproject", type=Path, default=ROOT / "pyproject.toml")
    parser.add_argument("--output", type=Path, default=ROOT / "requirements-frozen.txt")
    options = parser.parse_args(argv)
    project = tomllib.loads(options.pyproject.read_text())["project"]
    packages = lock(project["requires-python"], project["dependencies"])
    needed = needed_where(packages)
    check_wheels(packages, needed)
    wanted = {normal(name): (packages[name].version, marker_for(needed[name])) for name in needed if not is_cuda(name)}
    text = render(wanted, weigh(packages, needed))
    parse(text)
    options.output.write_text(text)
    print(f"{options.output.name}: {len(wanted)} pins, each with wheels for {len(PYTHONS)} Pythons where it applies")
    return 0


def lock(python: str, dependencies: Sequence[str]) -> dict[str, Package]:
    """Let uv choose the versions, in a folder of its own so that no index ends up in the tree."""
    lines = ["[project]", f'name = "{PROJECT}"', 'version = "0"', f'requires-python = "{python}"']
    lines.append(f"dependencies = {[where_built(wanted) for wanted in dependencies]!r}")
    lines += ["[tool.uv]", "package = false", 'fork-strategy = "fewest"']
    where = [f"sys_platform == '{system}' and platform_machine == '{machine}'" for system, machine in MACHINES]
    lines.append(f"environments = {where!r}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text("\n".join(lines))
        subprocess.run([tool("uv"), "lock", "--quiet", "--no-build"], cwd=folder, check=True)
        locked = tomllib.loads(Path(folder, "uv.lock").read_text())
    packages = {}
    for entry in locked["package"]:
        if entry["name"] in packages:
            raise SystemExit(f"{entry['name']} is locked at more than one version; pin it in pyproject.toml")
        packages[entry["name"]] = Package(
            name=entry["name"],
            version=entry["version"],
            wheels=tuple(wheel["url"].rsplit("/", 1)[1].replace("%2B", "+") for wheel in entry.get("wheels", ())),
            needs={
                extra: tuple(need_of(need) for need in needs)
                for extra, needs in {
                    "": entry.get("dependencies", ()),
                    **entry.get("optional-dependencies", {}),
                }.items()
            },
        )
    return packages


def need_of(entry: Mapping[str, Any]) -> Need:
    return Need(name=entry["name"], extras=tuple(entry.get("extra", ())), marker=entry.get("marker", ""))


def where_built(dependency: str) -> str:
    """The dependency, kept off the platforms for which nobody builds it."""
    requirement = Requirement(dependency)
    markers = [f"({requirement.marker})"] if requirement.marker else []
    markers += [
        f"(sys_platform != '{system}' or platform_machine != '{machine}')"
        for (system, machine), names in NOT_BUILT.items()
        if normal(requirement.name) in names
    ]
    requirement.marker = Marker(" and ".join(markers)) if markers else None
    return str(requirement)


def tool(name: str) -> str:
    """The program `name` beside this interpreter, or else on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found


def needed_where(packages: Mapping[str, Package]) -> dict[str, tuple[Platform, ...]]:
    """The cells (platform and Python) in which each package is needed."""
    reached = {cell: needed_in(cell, packages) for cell in CELLS}
    names = sorted(set().union(*reached.values()))
    return {name: tuple(cell for cell in CELLS if name in reached[cell]) for name in names}


def needed_in(cell: Platform, packages: Mapping[str, Package]) -> set[str]:
    """The packages to install in one cell, walking the lock from the project on."""
    environment = {
        "sys_platform": cell.system,
        "platform_system": cell.system.capitalize(),
        "platform_machine": cell.machine,
        "python_version": cell.python,
        "python_full_version": cell.python + ".0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
    }
    reached: set[tuple[str, str]] = set()
    pending = [(PROJECT, "")]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in reached:
            continue
        reached.add((name, extra))
        for need in packages[name].needs[extra]:
            if not need.marker or Marker(need.marker).evaluate(environment):
                pending += [(need.name, part) for part in ("", *need.extras)]
    return {name for name, _ in reached} - {PROJECT}


def is_cuda(name: str) -> bool:
    return CUDA.fullmatch(name) is not None


def check_wheels(packages: Mapping[str, Package], needed: Mapping[str, tuple[Platform, ...]]) -> None:
    """Refuse a package without a wheel for a cell in which it is needed, and an exception that is none any more."""
    problems = [
        f"{name} {packages[name].version} has no wheel for {cell.key}, Python {cell.python}"
        for name, cells in needed.items()
        for cell in cells
        if not wheels_for(packages[name], cell)
    ]
    problems += [
        f"{name} {packages[name].version} is built for {cell.key} by now: take it out of NOT_BUILT"
        for cell in CELLS
        for name in NOT_BUILT.get((cell.system, cell.machine), ())
        if name in packages and wheels_for(packages[name], cell)
    ]
    if problems:
        raise SystemExit("\n".join(problems))


def wheels_for(package: Package, cell: Platform) -> list[str]:
    """The wheels of `package` that install in `cell`."""
    return [wheel for wheel in package.wheels if any(installs(tag, cell) for tag in parse_wheel_filename(wheel)[3])]


def installs(tag: Tag, cell: Platform) -> bool:
    """Whether a wheel with this tag can be installed in `cell` on the oldest system that counts."""
    digits = re.fullmatch(r"(?:cp|py)3(\d*)", tag.interpreter)
    if digits is None:
        return False
    minor, wanted = int(digits[1] or 0), int(cell.python.split(".")[1])
    own_abi = tag.abi == f"cp3{wanted}" and minor == wanted
    python = own_abi or (tag.abi in {"abi3", "none"} and minor <= wanted)
    return python and (tag.platform == "any" or runs_on(tag.platform, cell))


def runs_on(platform: str, cell: Platform) -> bool:
    """Whether a wheel's platform tag names `cell`'s platform in a version that is old enough."""
    for alias, plain in OLD_NAMES.items():
        platform = platform.replace(alias + "_", plain + "_")
    if cell.system == "linux":
        found = re.fullmatch(rf"manylinux_(\d+)_(\d+)_{cell.machine}", platform)
        newest = GLIBC
    else:
        found = re.fullmatch(rf"macosx_(\d+)_(\d+)_(?:{cell.machine}|universal2)", platform)
        newest = MACOS
    return found is not None and (int(found[1]), int(found[2])) <= newest


def marker_for(cells: tuple[Platform, ...]) -> str:
    """The shortest marker of the kit's small language that holds in exactly these cells."""
    if len(cells) == len(CELLS):
        return ""
    atoms = [f'sys_platform {symbol} "{system}"' for symbol in ("!=", "==") for system in ("linux", "darwin")]
    atoms += [f'platform_machine {symbol} "{name}"' for symbol in ("!=", "==") for _, name in MACHINES]
    atoms += [f'python_version {symbol} "{python}"' for symbol in ("<", ">=") for python in PYTHONS[1:]]
    candidates = [*atoms]
    candidates += [f"{a} {word} {b}" for word, (a, b) in product(("and", "or"), combinations(atoms, 2))]
    for marker in candidates:
        if tuple(cell for cell in CELLS if applies(marker, cell)) == cells:
            return marker
    raise SystemExit(f"no marker of two comparisons says {[(cell.key, cell.python) for cell in cells]}")


def weigh(packages: Mapping[str, Package], needed: Mapping[str, tuple[Platform, ...]]) -> dict[str, dict[str, float]]:
    """The size in MB of every package's wheel on every platform on which it is needed."""
    weighed: dict[tuple[str, str], Platform] = {}
    for name, cells in needed.items():
        for cell in cells:
            if cell.python == WEIGHED:
                weighed[name, cell.key] = cell
            else:  # the first Python, where a package is needed for other ones only
                weighed.setdefault((name, cell.key), cell)
    jobs = [(packages[name], cell) for (name, _), cell in weighed.items()]
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = pool.map(lambda job: wheel_megabytes(*job), jobs)
        weights: dict[str, dict[str, float]] = {}
        for (package, cell), megabytes in zip(jobs, found, strict=True):
            if megabytes is not None:
                weights.setdefault(package.name, {})[cell.key] = megabytes
    return weights


def wheel_megabytes(package: Package, cell: Platform) -> float | None:
    """Ask pip for the wheel and take the size from its announcement; the transfer is stopped there.

    The lock knows sizes only where the index tells them, and not every index does. None when pip finds no wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--progress-bar", "off"]
        command += ["--only-binary", ":all:", "--python-version", cell.python, "--dest", folder]
        command += [part for name in platform_tags(cell) for part in ("--platform", name)]
        command.append(f"{package.name}=={package.version}")
        # A pip that is stopped leaves its temporary files; below `folder` they go with it.
        environ = os.environ | {"TMPDIR": folder}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)
        try:
            for line in process.stdout or ():
                found = re.search(r"\.whl \((\d+(?:\.\d+)?) (kB|MB|GB)\)", line)
                if found:
                    return float(found[1]) * {"kB": 0.001, "MB": 1.0, "GB": 1000.0}[found[2]]
        finally:
            process.terminate()
            process.wait()
        for wheel in Path(folder).glob("*.whl"):  # from a folder or a file: index; pip does not announce those
            return wheel.stat().st_size / 1e6
    print(f"pip did not find {package.name} {package.version} for {cell.key}; its size stays unknown")
    return None


def platform_tags(cell: Platform) -> list[str]:
    """Every platform tag a wheel for `cell` can carry; pip does not derive the older ones from the newest."""
    if cell.system == "linux":
        tags = [f"manylinux_{GLIBC[0]}_{minor}_{cell.machine}" for minor in range(GLIBC[1], 4, -1)]
        return tags + [f"{alias}_{cell.machine}" for alias in OLD_NAMES]
    versions = [f"{major}_0" for major in range(MACOS[0], 10, -1)] + [f"10_{minor}" for minor in range(16, 8, -1)]
    return [f"macosx_{version}_{kind}" for version in versions for kind in (cell.machine, "universal2")]


def render(wanted: Mapping[str, tuple[str, str]], weights: Mapping[str, Mapping[str, float]]) -> str:
    """The file's text: the CUDA packages in one line, then a line per pin."""
    cuda: dict[str, float] = {}
    for name, sizes in weights.items():
        if is_cuda(name):
            cuda |= {key: cuda.get(key, 0.0) + megabytes for key, megabytes in sizes.items()}
    lines = [HEADER + f"{CUDA_NOTE} {listed(cuda)}"]
    for name, (version, marker) in sorted(wanted.items()):
        sizes = weights.get(name, {})
        shown = readable(max(sizes.values())) if len(set(sizes.values())) == 1 else listed(sizes)
        lines.append(f"{name}=={version}" + (f" ; {marker}" if marker else "") + (f"  # {shown}" if shown else ""))
    return "\n".join(lines) + "\n"


def listed(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{readable(megabytes)} {key}" for key, megabytes in sizes.items())


def readable(megabytes: float) -> str:
    return f"{megabytes:.1f} MB" if megabytes >= 0.1 else f"{max(megabytes, 0.01):.2f} MB"


if __name__ == "__main__":
    sys.exit(main())
