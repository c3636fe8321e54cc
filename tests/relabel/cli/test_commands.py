"""The table of commands: one line adds one, and what is not called is not loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import app
import tracin_core
from relabel.cli import COMMANDS, CommandEntry, main
from relabel.workspace import REPOSITORY_ROOT
from scripts.serving import free_port
from tests.test_launcher import taken_port  # noqa: F401 - a fixture

HEAVY = {
    "torch",
    "sqlalchemy",
    "numpy",
    "streamlit",
    "sklearn",
    "rich",
    "tests.relabel.cli.toy_command",
}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = CommandEntry("tests.relabel.cli.toy_command:greet", "Greet a project.")
    monkeypatch.setitem(COMMANDS, "greet", entry)
    monkeypatch.delitem(sys.modules, "tests.relabel.cli.toy_command", raising=False)


def test_one_line_adds_a_command_to_the_help_and_runs_it(toy, tmp_path, capsys):
    assert main(["--help"]) == 0
    assert re.search(r"^  greet +Greet a project\.$", capsys.readouterr().out, re.MULTILINE)
    assert "tests.relabel.cli.toy_command" not in sys.modules
    assert main(["greet", "pets", "--times", "1", "--workspace", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"hello pets in {tmp_path}\n"
    assert main(["greet", "--help"]) == 0
    shown = capsys.readouterr().out
    for said in ("Greet a project.", "--times N", "[default: 2]", "--workspace DIR", "NAME"):
        assert said in shown


def test_a_wrong_number_shows_the_usage_of_its_command(toy, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["greet", "pets", "--times", "4"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Usage: python -m relabel greet [OPTIONS] NAME" in said
    assert "'--times': found '4', expected a whole number from 1 to 3" in said


def test_an_unknown_command_names_the_known_ones(toy, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["greeet"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "There is no command called 'greeet'. Choose one of: app, demo, import" in said
    assert "doctor, greet." in said
    assert "work" not in said.split("Choose")[1]


@pytest.mark.parametrize("words", [["greeet"], ["greet"], ["greet", "x", "--no\x1b[31m"]])
def test_what_cannot_be_understood_is_said_without_steering_the_terminal(toy, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Error: " in said
    assert all(character.isprintable() or character == "\n" for character in said)


def test_the_last_place_that_is_said_counts(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "environment"))
    before, after = (str(tmp_path / name) for name in ("before", "after"))
    for words, place in (
        (["greet", "x"], str(tmp_path / "environment")),
        (["--workspace", before, "greet", "x"], before),
        (["--workspace", before, "greet", "x", "--workspace", after], after),
        (["--workspace", before, "--workspace", after, "greet", "x"], after),
    ):
        assert main(words) == 1
        assert capsys.readouterr().out.endswith(f"in {place}\n")


def test_the_help_of_the_whole_loads_no_command():
    code = f"""
import sys
from relabel.cli import main
assert main(["--help"]) == 0
print({HEAVY!r} & set(sys.modules), [m for m in sys.modules if m.startswith("relabel.cli.")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY_ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "set() ['relabel.cli.parameters']", done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_of_the_table_leads_to_a_command(name):
    command = COMMANDS[name].load()
    assert isinstance(command, click.Command)
    assert command.help == COMMANDS[name].summary
    assert {"workspace", "database"} <= {option.name for option in command.params} or name == "app"


def test_only_one_action_on_jobs_at_a_time(capsys):
    with pytest.raises(SystemExit):
        main(["jobs", "--cancel", "1", "--retry", "2"])
    assert "--retry cannot be given together with --cancel" in capsys.readouterr().err


def start_app(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relabel", *words],
        cwd=Path(tracin_core.__file__).parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY_ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_becomes_the_app(tmp_path, taken_port):  # noqa: F811
    refused = start_app("--workspace", str(tmp_path / "new"), "app", "--port", str(taken_port))
    assert refused.returncode == 2
    assert f"Port {taken_port} on 127.0.0.1 cannot be used" in refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.fixture
def start_here(monkeypatch):
    """Do in this process what the command becomes: an interpreter with Streamlit takes seconds."""

    def become(program: str, words: list[str]) -> None:
        assert (program, words[1]) == (sys.executable, app.__file__)
        raise SystemExit(app.main(words[2:]))

    def start(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(list(words))
        return end.value.code

    for name in (app.WORKSPACE_VARIABLE, app.DATABASE_VARIABLE):  # which the app sets
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("os.execv", become)
    return start


def test_the_app_is_started_with_its_own_options(tmp_path, start_here, capsys):
    (tmp_path / "file").touch()
    for word in ("--help", "-h"):
        assert start_here("app", word) == 0
        assert "--origin URL" in capsys.readouterr().out
    port = ["--port", str(free_port())]
    for words in (
        ["--workspace", str(tmp_path / "file" / "in"), "app", *port],
        ["app", *port, "--workspace", str(tmp_path / "file" / "in")],
    ):
        assert start_here(*words) == 2
        assert f"{tmp_path / 'file' / 'in'} cannot be written" in capsys.readouterr().err
