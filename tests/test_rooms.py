"""Imports flow one way, heavy packages come late, and nothing happens while a module is imported."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.options.session import KIT_ROOT

PACKAGE = KIT_ROOT / "kit"

#: The rooms of ``kit/`` from the ground up: a room imports from itself and from the rooms before it.
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

#: Rooms that open no file and start no process.
PURE_ROOMS = ("core", "verdict")
#: Modules that do, of the standard library; and the kit's doors to them.
IMPURE = ("subprocess", "os", "shutil", "tempfile", "socket", "kit.system.proc", "kit.system.pool", "kit.system.fsio")
#: What ``--help`` and a wrong option are answered without.
HEAVY = (
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
)


@dataclass(frozen=True, kw_only=True)
class Module:
    name: str
    tree: ast.Module

    @property
    def is_bootstrap(self) -> bool:
        """Runs before there is an environment, on whatever Python was started."""
        return self.name.startswith("kit.bootstrap.") or self.name == "kit.__main__"


def _load() -> dict[str, Module]:
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(KIT_ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name=name, tree=ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return modules


MODULES = _load()
every_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES.keys())


def imported(module: Module) -> set[str]:
    """Everything a module imports, late and for annotations too; of the kit the modules, not their names."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}, line {node.lineno}: a relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = whole & MODULES.keys()
            found |= submodules
            if whole - submodules:
                found.add(str(node.module))
    return found


def of_kit(module: Module) -> set[str]:
    return {name for name in imported(module) if name == "kit" or name.startswith("kit.")}


def room(name: str) -> str:
    """The room of a module; empty for ``kit`` itself."""
    return name.split(".")[1] if "." in name else ""


def rank(name: str) -> int:
    return ROOMS.index(room(name)) if room(name) else -1


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in MODULES} == {"", "__main__", *ROOMS}
    assert [path.name for path in sorted(PACKAGE.glob("*.py"))] == ["__init__.py", "__main__.py"]


@every_module
def test_a_room_imports_only_from_rooms_below(module: Module) -> None:
    if module.name == "kit.__main__":  # knows both ends: the environment first, then the command line
        assert {room(name) for name in of_kit(module)} == {"bootstrap", "cli"}
        return
    upward = {name for name in of_kit(module) if rank(name) > rank(module.name)}
    assert not upward, f"{module.name} imports from rooms above its own: {upward}"


def test_there_is_no_circle() -> None:
    edges = {name: of_kit(module) - {name, "kit"} for name, module in MODULES.items()}
    done: set[str] = set()
    while ready := {name for name, targets in edges.items() if name not in done and targets <= done}:
        done |= ready
    assert edges.keys() - done == set()


@every_module
def test_no_step_imports_another(module: Module) -> None:
    if module.name.startswith("kit.steps.step_"):
        assert not {name for name in of_kit(module) if name.startswith("kit.steps.step_")}


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in PURE_ROOMS])
def test_pure_rooms_touch_nothing(name: str) -> None:
    assert not imported(MODULES[name]) & set(IMPURE)


@every_module
def test_only_the_doors_start_processes(module: Module) -> None:
    starts = {"subprocess", "multiprocessing", "pty", "asyncio.subprocess"}
    if module.name not in ("kit.system.guard", "kit.system.proc") and not module.is_bootstrap:
        assert not imported(module) & starts
        assert not attributes(module, "os") & {"system", "popen", "fork", "execv", "execve", "spawnv", "posix_spawn"}


def attributes(module: Module, of: str) -> set[str]:
    """Attributes that are taken of a name, e.g. ``environ`` of ``os``."""
    return {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == of
    }


@every_module
def test_the_environment_is_read_in_one_place(module: Module) -> None:
    if module.name == "kit.cli.main" or module.is_bootstrap:
        return
    assert not attributes(module, "os") & {"environ", "environb", "getenv", "getenvb", "putenv"}
    from_os = {
        alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
    }
    assert not from_os & {"environ", "environb", "getenv", "putenv"}


def excepting(module: Module) -> Iterator[tuple[int, str]]:
    """(line, what is caught) of every ``except`` that catches everything."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            names = [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)] if node.type else ["everything"]
            for name in names:
                if name in ("Exception", "BaseException", "everything"):
                    yield node.lineno, name


@every_module
def test_only_the_entries_and_what_raises_again_catch_everything(module: Module) -> None:
    # whatever goes wrong while a stranger's bundle is read is what kit.verify.checks has to tell
    if module.name in ("kit.cli.main", "kit.__main__", "kit.verify.checks"):
        return
    swallowing = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and node.lineno in dict(excepting(module))
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert not swallowing, f"{module.name}, lines {swallowing}"


# ------------------------------------------------------------------------------------- what really happens


def python(program: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *args], cwd=KIT_ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_is_there_without_heavy_packages() -> None:
    loaded = json.loads(python("import kit.cli.main, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "click" in loaded
    assert not set(loaded) & set(HEAVY)


def test_the_parser_of_the_log_and_the_shard_need_no_torch() -> None:
    modules = [name for name in MODULES if name != "kit.__main__" and rank(name) < rank("kit.training")]
    program = (
        "import importlib, json, sys; [importlib.import_module(n) for n in sys.argv[1:]]; print('torch' in sys.modules)"
    )
    assert python(program, *modules) == "False\n"


def test_the_steps_are_there_without_what_only_training_and_judging_need() -> None:
    loaded = json.loads(python("import json, sys, kit.steps.pipeline; print(json.dumps(sorted(sys.modules)))"))
    assert {"numpy", "kit.steps.step_04_verdict"} <= set(loaded)
    assert not set(loaded) & (set(HEAVY) - {"numpy"})


#: Imports modules one after another and reports what is opened, started or listed meanwhile by the kit's own code.
#: An import in between makes the import system responsible, not the module.
WATCH = """
import importlib, json, sys
root, names, found = sys.argv[1], sys.argv[2:], []
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
            found.append([event, repr(args[0])[:100] if args else "", name[len(root):], frame.f_lineno])
            return
        frame = frame.f_back
sys.addaudithook(hook)
for name in names:
    importlib.import_module(name)
print(json.dumps(found))
"""


def test_nothing_happens_while_a_module_is_imported() -> None:
    names = [name for name in MODULES if name != "kit.__main__"]
    assert json.loads(python(WATCH, str(PACKAGE), *names)) == []


def test_the_watch_sees_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import os\nfrom pathlib import Path\nPath(__file__).read_text()\nos.listdir('.')\n"
    )
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + WATCH
    assert [event for event, *_ in json.loads(python(program, str(tmp_path), "noisy"))] == ["open", "os.listdir"]


@every_module
def test_no_module_prints_but_the_entries(module: Module) -> None:
    calls = {
        node.func.id for node in ast.walk(module.tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"print", "input", "breakpoint"}
