"""Print the rooms of ``kit/`` with their files, lines and functions, and the imports between them."""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "kit"


def lengths(tree: ast.Module) -> list[int]:
    """Lines of every function, decorators left out."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in ast.walk(tree) if isinstance(node, kinds)]


def targets(tree: ast.Module) -> set[str]:
    """Rooms that a module imports from, late imports included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("kit.")}


def main(package: Path) -> None:
    """Print one line a room, then the sums."""
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        files[parts[0] if len(parts) > 1 else "(top)"].append(path)
    functions, relations, total = [], set(), 0
    print(f"{'room':12}{'files':>6}{'lines':>7}{'functions':>11}{'median':>8}{'p90':>5}")
    for room, paths in sorted(files.items()):
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        own = [length for tree in trees for length in lengths(tree)]
        relations |= {(room, one) for tree in trees for one in targets(tree) if one in files and one != room}
        print(f"{room:12}{len(paths):6}{lines:7}{len(own):11}{summary(own)}")
        functions += own
        total += lines
    print(f"{'all':12}{sum(map(len, files.values())):6}{total:7}{len(functions):11}{summary(functions)}")
    print(f"imports between rooms: {len(relations)}")


def summary(values: list[int]) -> str:
    """Median and 90th percentile of function lengths."""
    if len(values) < 2:
        return f"{'':13}"
    return f"{statistics.median(values):8.0f}{statistics.quantiles(values, n=10)[-1]:5.0f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
