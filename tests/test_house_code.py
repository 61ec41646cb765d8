"""The rules of the house that can be read off the source: layers, layout, docstrings, nothing unfinished."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("models", "engine", "scenarios")
ROOT_FILES = {"__init__.py", "__main__.py", "cli.py", "errors.py"}
MOST_LINES = 500

#: What the files under a path may import from this package; the longest matching path decides.
MAY_IMPORT = {
    "errors.py": (),
    "models": ("models", "errors"),
    "engine": ("engine", "models", "errors"),
    "engine/reports": ("engine.reports", "engine.answer", "errors"),
    "scenarios": ("scenarios", "engine", "models", "errors"),
    "cli.py": ("scenarios", "engine", "models", "errors"),
    "__main__.py": ("cli",),
    "__init__.py": ("scenarios", "engine", "models", "errors"),
}
#: Libraries that only one file may import, at any depth of nesting.
ONE_DOOR = {
    "pymc": "models/inference.py",
    "pytensor": "models/inference.py",
    "arviz": "models/inference.py",
    "nutpie": "models/inference.py",
    "click": "cli.py",
    "argparse": "cli.py",
}
SPEAKERS = {"print", "input", "exit", "quit", "breakpoint"}
STREAMS = {"sys.exit", "sys.stdout", "sys.stderr", "sys.stdin", "os._exit"}


def shipped() -> list[Path]:
    """Every Python file of the package, tests and benchmarks not among them."""
    inner = (path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
    return sorted([*ROOT.glob("*.py"), *inner])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that code imports, also inside functions and by a module's name in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"quotacast(\.\w+)+\.?", str(node.value)):
            yield str(node.value).rstrip(".")


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def allowed(place: str) -> tuple[str, ...]:
    """What a file may import from this package."""
    rules = [rule for rule in MAY_IMPORT if place == rule or place.startswith(f"{rule}/")]
    return MAY_IMPORT[max(rules, key=len)]


def broken_layers(place: str, tree: ast.AST) -> list[str]:
    """Imports that point upwards, are relative, or use a library through the wrong door."""
    found = []
    for name in imports(tree):
        inner = name.removeprefix("quotacast.")
        if name.startswith("."):
            found.append(f"{place}: {name} is relative; write it from quotacast on")
        elif below(name, "quotacast") and inner != "__version__":
            if not any(below(inner, one) for one in allowed(place)):
                found.append(
                    f"{place}: imports {name}; it may import {', '.join(allowed(place)) or 'nothing'}"
                )
        elif ONE_DOOR.get(name.partition(".")[0], place) != place:
            found.append(f"{place}: imports {name}; only {ONE_DOOR[name.partition('.')[0]]} may")
    return found


def spoken(place: str, tree: ast.AST) -> list[str]:
    """Lines outside the command line that print, read from the terminal, or exit."""
    if place == "cli.py":
        return []
    found = []
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPEAKERS
        raised = isinstance(node, ast.Name) and node.id == "SystemExit"
        if called or raised or (isinstance(node, ast.Attribute) and ast.unparse(node) in STREAMS):
            found.append(f"{place}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}")
    return found


def undocumented(place: str, tree: ast.Module) -> list[str]:
    """Public modules, classes, functions and methods that say nothing about themselves."""
    found = [] if ast.get_docstring(tree) else [place]
    holders: list[ast.Module | ast.ClassDef] = [tree]
    for holder in holders:
        for node in holder.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                found.append(f"{place}:{node.lineno}: {node.name}")
            if isinstance(node, ast.ClassDef):
                holders.append(node)
    return found


def unfinished(place: str, tree: ast.AST, text: str) -> list[str]:
    """Reminders to oneself, refusals to work, and functions without a body."""
    reminders = re.compile(r"\b(TODO|FIXME|NotImplementedError)\b|\bnot (yet )?implemented\b", re.IGNORECASE)
    found = [
        f"{place}:{n}: {line.strip()}" for n, line in enumerate(text.split("\n"), 1) if reminders.search(line)
    ]
    protocols = {
        method
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).startswith("Protocol") for base in node.bases)
        for method in node.body
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node in protocols:
            continue
        if any(ast.unparse(mark).endswith("overload") for mark in node.decorator_list):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        # A docstring alone is enough for a private default and for a group of commands.
        on_purpose = not body and (node.name.startswith("_") or bool(node.decorator_list))
        if not on_purpose and all(ast.unparse(line) in {"pass", "..."} for line in body):
            found.append(f"{place}:{node.lineno}: {node.name} does nothing")
    return found


def parsed() -> Iterator[tuple[str, ast.Module, str]]:
    for path in shipped():
        text = path.read_text(encoding="utf-8")
        yield name_of(path), ast.parse(text), text


def test_imports_point_downwards() -> None:
    assert [line for place, tree, _ in parsed() for line in broken_layers(place, tree)] == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("models/cells.py", "from quotacast.engine.answer import Answer"),
        ("models/cells.py", "from quotacast import engine"),
        ("models/history/read.py", "def f():\n    import quotacast.scenarios.plan"),
        ("models/cells.py", "from quotacast import forecast"),
        ("engine/simulate.py", "import importlib\nimportlib.import_module('quotacast.scenarios.plan')"),
        ("engine/reports/page.py", "from quotacast.engine.paths import Paths"),
        ("engine/reports/page.py", "from quotacast.models.periods import Period"),
        ("scenarios/run.py", "from quotacast.cli import main"),
        ("models/cells.py", "from . import terms"),
        ("models/counts.py", "def f():\n    import pymc as pm"),
        ("models/funnel.py", "import arviz.stats"),
        ("engine/quota.py", "from click import echo"),
    ],
)
def test_a_wrong_import_is_seen(place: str, line: str) -> None:
    assert len(broken_layers(place, ast.parse(line))) == 1


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("models/cells.py", "from quotacast.models.terms import Term\nfrom quotacast.errors import FitError"),
        ("engine/reports/page.py", "from quotacast.engine.answer import Answer"),
        ("models/inference.py", "def f():\n    import pymc, nutpie"),
        ("scenarios/run.py", "from quotacast import __version__\nfrom quotacast.engine import simulate"),
        ("cli.py", "import click\nfrom quotacast.scenarios.run import run"),
    ],
)
def test_a_right_import_passes(place: str, line: str) -> None:
    assert broken_layers(place, ast.parse(line)) == []


def test_only_the_command_line_prints_or_exits() -> None:
    assert [line for place, tree, _ in parsed() for line in spoken(place, tree)] == []


@pytest.mark.parametrize(
    "line", ["print(1)", "import sys\nsys.exit(2)", "raise SystemExit", "import sys\nsys.stderr.write('x')"]
)
def test_speech_is_heard(line: str) -> None:
    assert spoken("engine/quota.py", ast.parse(line))
    assert spoken("cli.py", ast.parse(line)) == []


def test_public_things_have_docstrings() -> None:
    assert [line for place, tree, _ in parsed() for line in undocumented(place, tree)] == []


def test_nothing_is_left_unfinished() -> None:
    assert [line for place, tree, text in parsed() for line in unfinished(place, tree, text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # todo: later",
        "def f():\n    raise NotImplementedError",
        "def f():\n    'Says.'\n    ...",
        "def f():\n    'Says.'",
        "def _f():\n    pass",
    ],
)
def test_unfinished_work_is_seen(text: str) -> None:
    assert unfinished("engine/quota.py", ast.parse(text), text)


def test_a_default_that_does_nothing_on_purpose_passes() -> None:
    text = "def _silent(what):\n    'Tell nobody.'"
    assert unfinished("engine/quota.py", ast.parse(text), text) == []


def test_no_file_is_too_long() -> None:
    files = [*shipped(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: count for name, count in lengths.items() if count > MOST_LINES} == {}


def test_only_four_files_at_the_root() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == ROOT_FILES


def test_every_folder_with_code_is_a_listed_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in shipped()}
    dotted = {".".join(["quotacast", *folder.relative_to(ROOT).parts]) for folder in folders}
    assert dotted == listed
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
