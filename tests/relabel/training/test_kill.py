from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from relabel.training.loop import train
from tests.preloaded import PreloadedProcess
from tests.relabel.training.tiny import CONFIG, make_data, make_model


def kill(process: PreloadedProcess, after_epochs: int, delay: float) -> list[str]:
    """Send SIGKILL a moment after so many epochs were reported; return what was printed."""
    printed = [process.stdout.readline() for _ in range(after_epochs)]
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    return [*printed, *rest.splitlines()]


# No pause and a few milliseconds: the kill falls into a step, a save, or the final clean-up.
@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "pause", "delay"), [(2, 0.2, 0), (1, 0, 0.004), (5, 0, 0.01)])
def test_a_killed_training_goes_on_from_its_last_epoch_with_the_same_bits(
    tmp_path, preloaded, epochs, pause, delay
):
    expected_model, model = make_model(), make_model()
    expected = train(expected_model, make_data(), make_data(30), CONFIG, tmp_path / "whole")

    folder = tmp_path / "killed"
    program = ("-m", "tests.relabel.training.train_tiny", str(folder), str(pause))
    printed = kill(preloaded.start(*program), epochs, delay)
    told: list[str] = []
    records = train(
        model, make_data(), make_data(30), CONFIG, folder, lambda share, text: told.append(text)
    )

    assert len(told) <= CONFIG.epochs - epochs, f"finished epochs were repeated; saw {printed}"
    assert records == expected
    for name, value in expected_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    for record in records:
        mine, whole = (
            torch.load(base / record.file, weights_only=True)
            for base in (folder, tmp_path / "whole")
        )
        for name, value in whole["state_dict"].items():
            assert torch.equal(mine["state_dict"][name], value)
    files = [
        sorted(path.name for path in (base / "checkpoints").iterdir())
        for base in (folder, tmp_path / "whole")
    ]
    assert files[0] == files[1]
