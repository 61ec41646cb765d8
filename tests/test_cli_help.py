"""Help, versions and the words of the command line that the README relies on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from quotacast import __version__
from quotacast.cli import GROUPS, main

README = Path(__file__).resolve().parents[1] / "README.md"
HEAVY = {"numpy", "pandas", "pymc", "arviz", "numba", "scipy", "pydantic", "rich", "jinja2", "matplotlib"}


@pytest.mark.parametrize("name", sorted(main.commands))
def test_help_of_every_command_shows_an_example_that_it_understands(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    (example,) = re.findall(rf"Example: (quotacast {name}[^\n]*)", result.output)
    known = {flag for parameter in main.commands[name].params for flag in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", example)) <= known
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_every_command_stands_in_one_group() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(main.commands) <= set(listed)


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"quotacast, version {__version__}\n"


def test_being_told_to_stop_is_answered_like_ctrl_c() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        CliRunner().invoke(main, ["example", "--help"])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from quotacast.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('|'.join(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8")
    assert "Answer:" in done.stdout
    assert set(done.stderr.strip().split("|")) & HEAVY == set()


def test_documented_commands_exist() -> None:
    if not README.is_file():
        pytest.skip("README.md is not written yet")
    text = README.read_text(encoding="utf-8")
    calls = re.findall(r"^\s*(?:\$ )?quotacast ([a-z]+)([^\n`]*)", text, flags=re.MULTILINE)
    assert calls
    for name, rest in calls:
        assert name in main.commands, name
        known = {flag for parameter in main.commands[name].params for flag in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest.partition("#")[0])) <= known, (name, rest)
