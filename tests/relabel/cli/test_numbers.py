"""Numbers outside their bounds are refused in words, by every command that takes one."""

from __future__ import annotations

import pytest

from app import main as start_app
from relabel.cli import main
from relabel.fitting.options import WorkOptions
from relabel.importers.options import ImportOptions
from relabel.text import LARGEST_SEED
from relabel.training.config import TrainingConfig
from tracin_core.errors import ConfigurationError

HUGE = "1" + "0" * 5000
ODD = ("-1", "nan", "inf", "-inf", "1e99", "0x10", "", "²", HUGE)
WHOLE = (
    *(f"train x --{name}" for name in ("epochs", "batch-size", "num-checkpoints", "patience")),
    *("train x --seed", "import x . --seed", "demo --seed", "score x --num-checkpoints"),
    *("queue x --top", "jobs --limit", "jobs --cancel", "jobs --retry", "jobs --log"),
    *("jobs --wait", "work"),
)
RATES = ("train x --learning-rate", "score x --learning-rate-of-checkpoints")
SHARES = ("import x . --test-share", "import x . --plant", "demo --noise")


def refuse(capsys, arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert len(said) < 5000
    return said


def joined(command: str, value: str) -> list[str]:
    *words, last = command.split()
    # "--seed -1" would be taken for two options by some shells' readers; "--seed=-1" never.
    return [*words, f"{last}={value}"] if last.startswith("--") else [*words, last, "--", value]


@pytest.mark.parametrize("command", WHOLE)
def test_a_whole_number_out_of_bounds_is_refused(capsys, command):
    for value in (*ODD, "1.5"):
        assert "expected a whole number from" in refuse(capsys, joined(command, value))


@pytest.mark.parametrize("command", ["train x --epochs", "jobs --limit", "queue x --top"])
def test_none_is_no_number_of_something_that_is_wanted(capsys, command):
    assert "expected a whole number from 1" in refuse(capsys, joined(command, "0"))


@pytest.mark.parametrize("command", RATES)
def test_a_rate_is_a_finite_number_above_none(capsys, command):
    for value in ("-1", "0", "nan", "inf", "1e999", "1e300", "x"):
        assert "expected a number above 0" in refuse(capsys, joined(command, value))


@pytest.mark.parametrize("command", SHARES)
def test_a_share_is_from_none_to_all(capsys, command):
    for value in ("-0.1", "1.1", "nan", "inf", "x"):
        assert "expected a number from 0 to 1" in refuse(capsys, joined(command, value))


@pytest.mark.parametrize("value", ["-1", "0", "65536", "nan", HUGE])
def test_a_port_is_one(capsys, value):
    with pytest.raises(SystemExit):
        start_app([f"--port={value}"])
    assert "expected a whole number from 1 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("steps", ["-1", "1,,2", "1e3", "9" * 20, HUGE])
def test_steps_are_numbers_of_steps(capsys, steps):
    assert "is no list of steps" in refuse(capsys, ["train", "x", f"--steps={steps}"])


@pytest.mark.parametrize(
    "options",
    [
        *({name: -1} for name in ("epochs", "batch_size", "seed", "num_checkpoints", "patience")),
        *({name: 0} for name in ("epochs", "batch_size", "learning_rate")),
        {"epochs": 2.5},
        {"seed": LARGEST_SEED + 1},
        {"batch_size": 10**40},
        {"learning_rate": float("nan")},
        {"learning_rate_of_checkpoints": float("inf")},
        {"seed": "1"},
    ],
)
def test_a_job_with_an_impossible_number_is_refused_before_it_begins(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        WorkOptions(**options)


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1, 10**30])
def test_a_seed_is_one_that_all_generators_take(seed):
    with pytest.raises(ConfigurationError, match="seed"):
        ImportOptions(seed=seed)
    with pytest.raises(ConfigurationError, match="seed"):
        TrainingConfig(seed=seed)
