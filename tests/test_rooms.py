"""The rooms of ``kit/``: imports go one way, heavy packages come late, and importing a module does nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kit.options.session import KIT_ROOT

PACKAGE = KIT_ROOT / "kit"

#: From the ground up: a room imports from itself and from the rooms before it.
ROOMS = (
    "core",
    "system",
    "bootstrap",
    "options",
    "video",
    "platforms",
    "corpus",
    "training",
    "features",
    "models",
    "verdict",
    "prereqs",
    "page",
    "cluster",
    "heads",
    "steps",
    "verify",
    "cli",
)
#: Rooms that open no file and start no process, and what they therefore do not import.
PURE_ROOMS = ("core", "verdict")
IMPURE = {"subprocess", "os", "shutil", "tempfile", "socket"} | {
    f"kit.system.{door}" for door in ("proc", "pool", "fsio")
}
#: Packages that ``--help`` and a wrong option do without.
HEAVY = {
    "jsonschema",
    "torch",
    "numpy",
    "scipy",
    "pyarrow",
    "pandas",
    "onnx",
    "onnxruntime",
    "imageio_ffmpeg",
    "dask",
    "distributed",
    "jinja2",
    "matplotlib",
}
#: Modules that start processes; only the last one reads the environment or catches every error.
DOORS = {"kit.system.guard", "kit.system.proc"}
STARTS_PROCESSES = {"subprocess", "multiprocessing", "pty", "asyncio.subprocess"}
STARTS_BY_OS = {"system", "popen", "fork", "execv", "execve", "spawnv", "posix_spawn"}
READS_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
#: ``kit.verify.checks`` reports every error of a received bundle as a failed check.
CATCHES_EVERYTHING = {"kit.cli.main", "kit.__main__", "kit.verify.checks"}


@dataclass(frozen=True, kw_only=True)
class Module:
    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return room(self.name)

    @property
    def is_bootstrap(self) -> bool:
        """Whether it runs before there is an environment, on the Python that was started."""
        return self.room in ("bootstrap", "__main__")

    @cached_property
    def imports(self) -> set[str]:
        """Everything it imports, late and for annotations too; modules of the kit, not the names in them."""
        names = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}, line {node.lineno}: a relative import"
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= whole & MODULES.keys()
                if whole - MODULES.keys():
                    names.add(str(node.module))
        return names

    @cached_property
    def of_kit(self) -> set[str]:
        """Modules of the kit that it imports."""
        return {name for name in self.imports if name.startswith("kit.")}

    def uses_of_os(self) -> set[str]:
        """Names it takes from ``os``."""
        names = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                names.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and node.module == "os":
                names |= {alias.name for alias in node.names}
        return names

    def calls(self) -> set[str]:
        """Names of functions that it calls."""
        calls = (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        return {node.func.id for node in calls if isinstance(node.func, ast.Name)}

    def swallows(self) -> Iterator[int]:
        """Lines of every ``except`` that catches everything and raises nothing."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {""}
            if caught & {"Exception", "BaseException", ""} and not any(
                isinstance(n, ast.Raise) for n in ast.walk(node)
            ):
                yield node.lineno


def room(name: str) -> str:
    """The room of a module; empty for ``kit`` itself."""
    return name.split(".")[1] if "." in name else ""


def rank(name: str) -> int:
    return ROOMS.index(room(name)) if room(name) else -1


def load() -> dict[str, Module]:
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(KIT_ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name=name, tree=ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return modules


MODULES = load()
#: All but the entry, which knows both ends.
INSIDE = {name: module for name, module in MODULES.items() if name != "kit.__main__"}


def test_every_module_is_in_a_room() -> None:
    assert {module.room for module in MODULES.values()} == {"", "__main__", *ROOMS}
    assert [path.name for path in sorted(PACKAGE.glob("*.py"))] == ["__init__.py", "__main__.py"]


def test_a_room_imports_only_from_rooms_before_it() -> None:
    upward = {
        f"{name} -> {target}"
        for name, module in INSIDE.items()
        for target in module.of_kit
        if rank(target) > rank(name)
    }
    assert not upward


def test_only_the_entry_knows_both_ends() -> None:
    assert {room(name) for name in MODULES["kit.__main__"].of_kit} == {"bootstrap", "cli"}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    edges = {name: module.of_kit - {name} for name, module in MODULES.items()}
    done: set[str] = set()
    while ready := {name for name, targets in edges.items() if name not in done and targets <= done | {"kit"}}:
        done |= ready
    assert edges.keys() - done == set()


def test_no_step_imports_another() -> None:
    steps = {name: module for name, module in MODULES.items() if name.startswith("kit.steps.step_")}
    assert len(steps) >= 5
    assert not {
        name for name, module in steps.items() if any(one.startswith("kit.steps.step_") for one in module.of_kit)
    }


def test_pure_rooms_open_and_start_nothing() -> None:
    pure = {name: module for name, module in INSIDE.items() if module.room in PURE_ROOMS}
    assert not {name: module.imports & IMPURE for name, module in pure.items() if module.imports & IMPURE}
    assert not {name for name, module in pure.items() if "open" in module.calls()}


def test_processes_start_in_one_place() -> None:
    others = {name: module for name, module in MODULES.items() if name not in DOORS and not module.is_bootstrap}
    assert not {name for name, module in others.items() if module.imports & STARTS_PROCESSES}
    assert not {name for name, module in others.items() if module.uses_of_os() & STARTS_BY_OS}


def test_the_environment_is_read_in_one_place() -> None:
    others = {name: module for name, module in INSIDE.items() if name != "kit.cli.main" and not module.is_bootstrap}
    assert not {name for name, module in others.items() if module.uses_of_os() & READS_ENVIRONMENT}


def test_nothing_swallows_every_error_but_the_entries() -> None:
    assert not {
        f"{name}, line {line}"
        for name, module in MODULES.items()
        if name not in CATCHES_EVERYTHING
        for line in module.swallows()
    }


def test_no_module_prints() -> None:
    assert not {name for name, module in MODULES.items() if module.calls() & {"print", "input", "breakpoint"}}


# ------------------------------------------------------------------------------------------ what an import does


def python(program: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *args], cwd=KIT_ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(module: str) -> set[str]:
    return set(json.loads(python(f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))")))


def test_the_command_line_starts_without_heavy_packages() -> None:
    loaded = loaded_by("kit.cli.main")
    assert "click" in loaded
    assert not loaded & (HEAVY | {"rich", "yaml"})


def test_the_rooms_below_training_need_no_torch() -> None:
    modules = [name for name in INSIDE if rank(name) < rank("kit.training")]
    program = (
        "import importlib, json, sys; [importlib.import_module(n) for n in sys.argv[1:]]; print('torch' in sys.modules)"
    )
    assert python(program, *modules) == "False\n"


def test_the_pipeline_starts_without_what_only_training_and_judging_need() -> None:
    loaded = loaded_by("kit.steps.pipeline")
    assert {"numpy", "kit.steps.step_04_verdict"} <= loaded
    assert not loaded & (HEAVY - {"numpy"})


#: Imports modules one after another and reports what the kit's own code opens, starts or lists meanwhile. Where a
#: frame of the import system comes first, importing is responsible and not the module.
WATCH = """
import importlib, json, sys
root, names, events = sys.argv[1], sys.argv[2:], []
watched = ("open", "os.", "subprocess.", "shutil.", "socket.", "tempfile.", "glob.", "pathlib.")
def hook(event, args):
    if not event.startswith(watched):
        return
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name.startswith("<frozen zipimport"):
            return
        if name.startswith(root):
            events.append([event, repr(args[0])[:100] if args else "", name[len(root):], frame.f_lineno])
            return
        frame = frame.f_back
sys.addaudithook(hook)
for name in names:
    importlib.import_module(name)
print(json.dumps(events))
"""


def test_importing_a_module_does_nothing() -> None:
    assert json.loads(python(WATCH, str(PACKAGE), *INSIDE)) == []


def test_the_watch_reports_what_a_module_does(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import os\nfrom pathlib import Path\nPath(__file__).read_text()\nos.listdir('.')\n"
    )
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + WATCH
    assert [event for event, *_ in json.loads(python(program, str(tmp_path), "noisy"))] == ["open", "os.listdir"]
