"""What messages tell a person to type: the console command, or the module of a checkout."""

from __future__ import annotations

import sys

import pytest

from relabel import workspace
from relabel.cli import main


@pytest.mark.parametrize(
    ("started", "is_checkout", "expected"),
    [
        ("/somewhere/relabel/__main__.py", True, "python -m relabel"),
        ("/somewhere/bin/relabel", True, "relabel"),
        ("/somewhere/relabel/__main__.py", False, "relabel"),
        ("/somewhere/relabel/_app/app.py", False, "relabel"),
        ("app.py", True, "python -m relabel"),
    ],
)
def test_the_program_is_named_as_a_person_can_call_it(started, is_checkout, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr(workspace, "IS_CHECKOUT", is_checkout)
    assert workspace.find_program_name() == expected


@pytest.mark.parametrize("arguments", [[], [""]])
def test_without_a_name_of_the_process_it_is_the_module(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", arguments)
    assert workspace.find_program_name() == "python -m relabel"


def test_the_console_command_is_named_in_usage_and_in_messages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/relabel"])
    with pytest.raises(SystemExit) as ended:
        main(["queue"])
    assert ended.value.code == 2
    assert "Usage: relabel queue [OPTIONS] NAME" in capsys.readouterr().err
    assert main(["queue", "mine", "--workspace", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("relabel: ")
    assert "`relabel import`" in said
    assert "`relabel demo`" in said
    assert "python -m" not in said
