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

#: From the bottom to the top: a module imports from its own layer and from those below it. A name that ends with a
#: dot stands for everything below it; ``kit.bootstrap.start*`` for all modules that start so.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("foundation", ("kit", "kit.core.exits", "kit.core.errors", "kit.core.contract", "kit.core.values")),
    (
        "pure",
        (
            "kit.core.canon", "kit.options.values", "kit.options.resolve",
            "kit.core.geometry", "kit.training.codec_block", "kit.corpus.plan", "kit.verdict.metrics", "kit.verdict.gate",
            "kit.verdict.evidence", "kit.verdict.base", "kit.verdict.accuracy", "kit.verdict.intervals",
            "kit.verdict.baselines", "kit.verdict.calibration", "kit.verdict.coverage", "kit.verdict.near_duplicates",
            "kit.core.layout", "kit.system.privacy", "kit.prereqs.estimate",
        ),
    ),
    (
        "adapters",
        (
            "kit.system.guard", "kit.system.stall", "kit.system.proc", "kit.system.confine",
            "kit.system.pool", "kit.system.fsio", "kit.system.validation", "kit.system.archive", "kit.system.local", "kit.system.ui", "kit.video.ffmpeg", "kit.video.relay",
            "kit.system.signature",
            "kit.video.scorers.",
            "kit.video.sources.", "kit.platforms.", "kit.corpus.", "kit.video.datasets.",
        ),
    ),
    ("training", ("kit.training.",)),
    ("bootstrap", ("kit.bootstrap.start*",)),
    ("between steps", (
        "kit.options.session", "kit.steps.results", "kit.options.provenance", "kit.prereqs.examine", "kit.training.run_members", "kit.models.sidecar", "kit.steps.exports",
        "kit.cluster.", "kit.page.", "kit.tiny.",
    )),
    ("steps", ("kit.steps.",)),
    ("pipeline", ("kit.steps.pipeline",)),
    ("verification", ("kit.verify.",)),
    (
        "command line",
        (
            "kit.cli.main", "kit.cli.binaries", "kit.cli.output", "kit.cli.compare", "kit.cli.corpus", "kit.cli.dataset",
            "kit.cli.features",
            "kit.cli.fit", "kit.cli.loso", "kit.cli.merge",
            "kit.options.click_options", "kit.cli.platform", "kit.cli.report",
            "kit.cli.score", "kit.cli.ship", "kit.cli.verify", "kit.cli.worker", "kit.__main__",
        ),
    ),
)  # fmt: skip

#: (module, what it imports, why that is allowed although it lies above).
EXCEPTIONS = (
    *(
        (
            f"kit.verdict.evidence{name}",
            "kit.training.predictions",
            "the values it judges are defined beside their file",
        )
        for name in ("", ".base", ".errors", ".bootstrap", ".baselines", ".calibration")
    ),
    *(
        (f"kit.verdict.evidence.{name}", "kit.training.table", "the table of rows is defined beside what gathers it")
        for name in ("coverage", "alike")
    ),
    ("kit.prereqs.estimate", "kit.steps.results", "it estimates from the value that step 1 hands over"),
    ("kit.bootstrap.start", "kit.cli.main", "hands over to the command line once the environment is right"),
)

#: What a pure module may not touch.
IMPURE = (
    "subprocess",
    "os",
    "shutil",
    "tempfile",
    "socket",
    "kit.system.proc",
    "kit.system.pool",
    "kit.system.fsio",
    "kit.cli.main",
    "kit.options.session",
)
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
        return self.name.startswith("kit.bootstrap.start") or self.name == "kit.__main__"


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


def layer(name: str) -> int:
    for index, (_, members) in enumerate(LAYERS):
        for member in members:
            if name == member or name == member[:-1] or (member[-1] in ".*" and name.startswith(member[:-1])):
                return index
    raise AssertionError(f"{name} stands in no layer: put it into LAYERS")


def test_the_kit_is_there() -> None:
    assert {"kit", "kit.cli.main", "kit.steps.step_01_prereqs", "kit.platforms.nvenc"} <= MODULES.keys()


@every_module
def test_imports_flow_one_way(module: Module) -> None:
    own = layer(module.name)
    allowed = {target for name, target, _ in EXCEPTIONS if name == module.name}
    upward = {name for name in of_kit(module) if layer(name) > own}
    assert upward <= allowed, f"{module.name} ({LAYERS[own][0]}) imports what lies above it: {upward - allowed}"


@pytest.mark.parametrize(("name", "target", "why"), EXCEPTIONS)
def test_every_exception_is_still_one(name: str, target: str, why: str) -> None:
    assert target in of_kit(MODULES[name])
    assert layer(target) > layer(name)
    assert why


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("kit", set()),
        ("kit.core.exits", set()),
        ("kit.core.contract", set()),
        ("kit.core.values", set()),
        ("kit.core.errors", {"kit.core.exits"}),
    ],
)
def test_the_foundation_stands_on_nothing(name: str, allowed: set[str]) -> None:
    assert of_kit(MODULES[name]) - {"kit"} == allowed


def test_there_is_no_circle() -> None:
    edges = {name: of_kit(module) - {name, "kit"} for name, module in MODULES.items()}
    # the hand-over of the bootstrap is none: the process goes on in the command line and does not come back
    edges["kit.bootstrap.start"].discard("kit.cli.main")
    done: set[str] = set()
    while ready := {name for name, targets in edges.items() if name not in done and targets <= done}:
        done |= ready
    assert edges.keys() - done == set()


@every_module
def test_no_step_imports_another(module: Module) -> None:
    if module.name.startswith("kit.steps."):
        assert not {name for name in of_kit(module) if name.startswith("kit.steps.")}


@pytest.mark.parametrize("name", [name for title, names in LAYERS if title == "pure" for name in names])
def test_pure_modules_touch_nothing(name: str) -> None:
    found = imported(MODULES[name])
    assert not found & set(IMPURE)


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
    modules = [
        name for name in MODULES if layer(name) <= layer("kit.corpus") and not name.startswith("kit.verdict.evidence")
    ]
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
