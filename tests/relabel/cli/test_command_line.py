"""The commands: what they print, how they fail, what they leave unloaded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from relabel.cli import main
from relabel.cli.queue import describe_content
from relabel.db.engine import open_database, writing
from relabel.db.queue import QueueRow
from relabel.text import excerpt
from relabel.workspace import REPOSITORY_ROOT
from tests.relabel.cli.interruption import start_command
from tests.relabel.jobs.workspaces import find_run, own_digits, replace_file
from tracin_core import __version__


def run_command(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "relabel", *arguments],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


# queue


def test_the_queue_is_a_table_of_suspects(workspace, capsys):
    assert main(["queue", "digits", "--top", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ranks = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert ranks == ["1", "2", "3", "4", "5", "6", "7"]
    assert "Handwritten digits" in lines[0]
    assert "1,438 ranked" in lines[-1]
    assert main(["queue", "digits", "--top", "1", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["signal"] == "suspicion"
    (first,) = answer["suspects"]
    # What models say that have not seen it: a likely label other than the given one.
    assert first["suggested"] in set("0123456789") - {first["given"]}
    assert 1 >= first["suggested_probability"] > first["runner_up_probability"] >= 0


def test_a_suspect_is_called_by_its_texts_or_by_its_place():
    row = QueueRow(
        *(1, 0, 1, 100.0, 0.5, 0, None, None, None, "pending", 0),
        *("A dog runs.\n\nIt is quick.", None, "0123456789abcdef", 0),
    )
    pair = replace(row, fields={"premise": "A dog runs.", "note": None, "claim": "It is quick."})
    assert describe_content(pair) == "premise: A dog runs.\nclaim: It is quick."
    assert describe_content(row) == "A dog runs. It is quick."
    picture = replace(row, text=None)
    assert describe_content(picture) == "0123456789ab"
    assert describe_content(replace(picture, source_place="cat/im 3.JPG")) == "cat/im 3.JPG"
    assert describe_content(replace(picture, fields={"age": 3.0})) == "age 3"


def test_the_queue_of_texts_shows_their_beginning(workspace, capsys):
    assert main(["queue", "docs", "--top", "3", "--signal", "mean_margin"]) == 0
    shown = capsys.readouterr().out
    assert main(["queue", "docs", "--top", "3", "--signal", "mean_margin", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["signal"] == "mean_margin"
    assert len(answer["suspects"]) == 3
    for suspect in answer["suspects"]:
        assert suspect["text"][:20] in shown
        assert suspect["given"] in shown
        assert 0 <= suspect["predicted_probability"] <= 1
    scores = [suspect["score"] for suspect in answer["suspects"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("top", ["0", "-1", "1001", "many"])
def test_an_impossible_number_of_suspects_is_refused(top, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["queue", "digits", "--top", top])
    assert caught.value.code == 2
    assert "1 to 1000" in capsys.readouterr().err or top == "-1"


def test_an_unknown_signal_names_the_known_ones(workspace, capsys):
    assert main(["queue", "digits", "--signal", "magic"]) == 2
    assert "self_influence, self_influence_all" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["queue"], ["evaluate"], ["export", "-o", "labels.csv"]])
def test_an_unknown_project_names_the_known_ones(workspace, capsys, command):
    assert main([command[0], "nope", *command[1:]]) == 2
    captured = capsys.readouterr()
    assert "no project called 'nope'" in captured.err
    assert "digits, docs" in captured.err
    assert captured.out == ""


def test_a_text_cannot_steer_the_terminal():
    assert excerpt("a\x1b[2Jb\u202ec\n\td", 20) == "a?[2Jb?c d"
    assert excerpt("word " * 30, 10) == "word wo..."


# evaluate


def test_evaluation_compares_every_signal_with_chance(workspace, capsys):
    assert main(["evaluate", "docs"]) == 0
    shown = capsys.readouterr().out
    for name in ("self_influence", "mean_loss", "mean_margin", "random", "AUROC", "found in 20%"):
        assert name in shown
    for name in ("suspicion", "held_out", "class_percentile", "test_opposition"):
        assert name in shown


def test_evaluation_without_truth_says_so(built_demos, tmp_path, capsys):
    own = own_digits(built_demos, tmp_path / "own")
    own.truth_path("digits").unlink()
    assert main(["--workspace", str(own.root), "evaluate", "digits"]) == 2
    assert "true labels of this project are not known" in capsys.readouterr().err


# export


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "labels.jsonl"])
def test_the_format_is_that_of_the_files_ending(workspace, tmp_path, capsys, name):
    path = tmp_path / name
    assert main(["export", "digits", "-o", str(path)]) == 0
    readers = {
        ".csv": lambda: len(path.read_text().splitlines()) - 1,
        ".jsonl": lambda: len([json.loads(line) for line in path.read_text().splitlines()]),
        ".parquet": lambda: pq.read_metadata(path).num_rows,
    }
    assert readers[path.suffix]() == 1438 + 359
    assert str(path) in capsys.readouterr().out


def test_only_reviewed_labels_are_exported_on_request(workspace, tmp_path):
    path = tmp_path / "labels.txt"
    arguments = ["export", "digits", "-o", str(path), "--format", "jsonl", "--reviewed-only"]
    assert main(arguments) == 0
    assert path.read_text() == ""


def test_a_file_in_a_missing_folder_is_refused(workspace, tmp_path, capsys):
    assert main(["export", "digits", "-o", str(tmp_path / "missing" / "labels.csv")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["export", "digits", "-o", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


# doctor


def test_the_doctor_finds_a_sound_installation(workspace, capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for subject in ("python", "packages", "device", "index", "workspace", "database"):
        assert f"ok      {subject}" in shown
    assert "ok      project digits" in shown
    assert "BROKEN" not in shown


def test_the_doctor_finds_a_damaged_run(built_demos, tmp_path, capsys):
    own = own_digits(built_demos, tmp_path / "own")
    path = find_run(own) / "vectors-all-train.npy"
    replace_file(path, path.read_bytes()[:1000])
    assert main(["--workspace", str(own.root), "doctor"]) == 1
    shown = capsys.readouterr().out
    assert "vectors-all-train.npy" in shown
    assert "score digits" in shown
    assert "project docs" in shown  # its files are not in this workspace


def test_the_doctor_goes_on_after_a_damaged_database(tmp_path, capsys):
    (tmp_path / "tracin.db").write_bytes(b"no database" * 1000)
    assert main(["--workspace", str(tmp_path), "doctor"]) == 1
    assert "BROKEN  database" in capsys.readouterr().out


# The command line itself


def test_shared_options_stand_before_or_after_the_command(built_demos, capsys):
    for arguments in (
        ["--workspace", str(built_demos), "queue", "digits", "--top", "1"],
        ["queue", "digits", "--top", "1", "--workspace", str(built_demos)],
        ["queue", "--workspace", str(built_demos), "digits", "--top", "1"],
    ):
        assert main(arguments) == 0
    database = f"sqlite:///{built_demos / 'tracin.db'}"
    assert main(["queue", "digits", "--database", database, "--top", "1"]) == 0
    capsys.readouterr()


def test_the_version_is_printed():
    done = run_command("--version")
    assert (done.returncode, done.stdout) == (0, f"relabel {__version__}\n")


def test_no_command_prints_the_usage():
    done = run_command()
    assert done.returncode == 2
    assert "demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_workspace_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    done = run_command("--workspace", str(tmp_path / "file" / "in"), "queue", "digits")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "--workspace" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["queue", "digits"], ["demo", "digits"]])
def test_a_database_of_a_newer_version_is_refused(tmp_path, capsys, command):
    engine = open_database(f"sqlite:///{tmp_path / 'tracin.db'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    assert main(["--workspace", str(tmp_path), *command]) == 2
    assert "newer version" in capsys.readouterr().err


def test_the_queue_does_not_load_torch(built_demos):
    code = (
        "import sys; from relabel.cli import main; "
        f"main(['--workspace', {str(built_demos)!r}, 'queue', 'digits', '--top', '1']); "
        "main(['--workspace', sys.argv[1], 'demo', 'digits']); "
        "print({'torch', 'streamlit', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(built_demos)],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_a_closed_pipe_is_no_error(built_demos):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "relabel", "--workspace", str(built_demos)),
            *("queue", "docs", "--top", "1000", "--format", "json"),
        ],
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=30)
    assert errors == ""


def test_an_interruption_is_one_sentence(tmp_path: Path):
    process = start_command("--workspace", str(tmp_path), "demo", "docs")
    assert "making the data" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 130
    assert "Stopped" in errors
    assert "Traceback" not in errors


def test_an_error_about_hostile_data_cannot_move_the_cursor(tmp_path, capsys):
    (tmp_path / "data.csv").write_text("text,\x1b[2Jlab\u202eel\na,b\n")
    place = ["--workspace", str(tmp_path / "workspace")]
    assert main(["import", "p", str(tmp_path / "data.csv"), "--label", "x\x1b[31m", *place]) == 2
    said = capsys.readouterr().err
    assert "\\x1b" in said
    assert all(character.isprintable() or character == "\n" for character in said)
