"""What is delivered: the wheel, the pins, the two commands of the README, the start-up, the public names."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import quotacast

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = {"read", "fit", "load_plan", "simulate", "quotas", "forecast"}
HEAVY = {
    *("arviz", "h5netcdf", "jinja2", "matplotlib", "numba", "numpy", "nutpie", "pandas", "pyarrow"),
    *(
        "pydantic",
        "pymc",
        "pytensor",
        "python_calamine",
        "rich",
        "scipy",
        "statsmodels",
        "xarray",
        "xlsxwriter",
    ),
}
NOT_SHIPPED = {"tests", "benchmarks", "docs", ".ci"}

#: What no tracked file may hold. Letters in brackets keep these patterns from finding themselves.
FORBIDDEN = {
    "address of a package registry": r"py[p]i\.(org|python)|python[h]osted|/[s]imple/"
    r"|--(extra-)?index-[u]rl|--find-[l]inks",
    "absolute path of a machine": r"(?<![\w./~<>$}*\])-])/(home|root|Users|work|opt|mnt|srv|private)/\w"
    r"|\b[A-Z]:\\{1,2}Users",
    "e-mail address outside example.com": r"\b[\w.+-]+@(?!([\w-]+\.)*(example(\.(com|org|net))?|test|invalid)"
    r"\b)[\w-]+\.[a-z]{2,}\b",
}


def settings() -> dict[str, object]:
    loaded: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


def tracked() -> list[str]:
    """Files of the project: what git knows or would add; without git, what is not hidden or made."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return sorted(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())
    made = re.compile(r"(^|/)(\.(?!ci/|gitignore)|build/|dist/|demo/|__pycache__/)|\.egg-info/")
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
    return sorted(name for name in names if not made.search(name))


def python(code: str) -> str:
    """Run code in a fresh interpreter with warnings as errors; its standard output."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel of a copy of the tracked files, built without network."""
    place = tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (place / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / "tree" / name)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(place)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place / "tree", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(next(place.glob("*.whl"))) as opened:
        yield opened


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    ships = {
        name
        for name in tracked()
        if name.split("/")[0] not in NOT_SHIPPED
        and ("/" in name or name.endswith(".py") or name == "py.typed")
    }
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {f"quotacast/{name}" for name in ships}
    assert "quotacast/py.typed" in names
    for pattern in (
        r"quotacast/scenarios/examples/\w+\.toml",
        r"quotacast/engine/reports/templates/\w+\.html",
    ):
        assert any(re.fullmatch(pattern, name) for name in names), pattern


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    about = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in about
    assert "Requires-Python: >=3.11" in about
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    entry = wheel.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert "quotacast = quotacast.cli:main" in entry


def pins() -> dict[str, str]:
    """Name and version of every pin; anything else in the file fails."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [
        re.fullmatch(r"([\w.-]+)==([0-9][0-9a-z.]*)", line) for line in lines if not line.startswith("#")
    ]
    assert all(found), lines
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    project = settings()["project"]
    assert isinstance(project, dict)
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = [Requirement(line) for line in [*project["dependencies"], *extras]]
    pinned = pins()
    for one in wanted:
        if one.name != "quotacast":
            assert pinned[canonicalize_name(one.name)] in one.specifier, str(one)


def command(mark: str) -> str:
    """The one line of the README's block under ``<!-- mark -->``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^<!-- {mark} -->\n+```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"README.md needs one block of code under <!-- {mark} -->"
    lines: list[str] = blocks[0].strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("run", ["-m venv", "-c constraints.txt", "quotacast example demo", "quotacast plan demo/plan.toml"]),
        ("test", ["-m venv", "-c constraints.txt", "[test]", "pytest"]),
    ],
)
def test_the_readme_sets_up_in_one_line(mark: str, words: list[str]) -> None:
    assert [word for word in words if word not in command(mark)] == []


def test_ci_runs_the_test_command_of_the_readme() -> None:
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "--show"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout.strip() == command("test"), done.stderr


def test_tracked_text_names_no_registry_machine_or_person() -> None:
    found = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        for what, pattern in FORBIDDEN.items():
            found += [f"{name}: {what}: {match[0]}" for match in re.finditer(pattern, text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("address of a package registry", "--index" + "-url x"),
        ("address of a package registry", "https://py" + "pi.org/project"),
        ("absolute path of a machine", "open('/ho" + "me/ann/x')"),
        ("absolute path of a machine", "see /ro" + "ot/x"),
        ("e-mail address outside example.com", "ann@some" + "where.com"),
    ],
)
def test_forbidden_text_is_seen(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)


@pytest.mark.parametrize("text", ["ann@example.com", "x/home/y", "ann@mail.example.org", "@pytest.fixture"])
def test_harmless_text_passes(text: str) -> None:
    assert [what for what, pattern in FORBIDDEN.items() if re.search(pattern, text)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import quotacast",
        "import quotacast.errors",
        "import quotacast.cli",
        "from quotacast.cli import main\nsys.argv = ['quotacast', '--help']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code",
    ],
    ids=["package", "errors", "cli", "help"],
)
def test_start_up_loads_nothing_heavy(code: str) -> None:
    told = python(f"import sys\n{code}\nprint('loaded', *sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert told.splitlines()[-1] == "loaded"


def test_public_names_are_pinned() -> None:
    assert set(quotacast.__all__) == PUBLIC
    assert set(dir(quotacast)) >= PUBLIC
    assert [name for name in sorted(PUBLIC) if not callable(getattr(quotacast, name))] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        quotacast.no_such_name  # noqa: B018


def test_there_is_one_version() -> None:
    project = settings()["project"]
    assert isinstance(project, dict)
    assert quotacast.__version__ == project["version"] == metadata.version("quotacast")


def modules() -> list[str]:
    names = {module.name for module in pkgutil.walk_packages(quotacast.__path__, "quotacast.")}
    return sorted(
        name for name in names if name.split(".")[1] in {"models", "engine", "scenarios", "cli", "errors"}
    )


@pytest.mark.parametrize("name", modules())
def test_module_imports_and_its_examples_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
