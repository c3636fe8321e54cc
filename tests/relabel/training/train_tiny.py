"""Train the tiny network in a folder and print a line after each epoch; to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from relabel.training.loop import train
from tests.relabel.training.tiny import CONFIG, make_data, make_model


def report(share: float, message: str) -> None:
    print(message, flush=True)
    time.sleep(float(sys.argv[2]))


train(make_model(), make_data(), make_data(30), CONFIG, Path(sys.argv[1]), report)
print("finished", flush=True)
