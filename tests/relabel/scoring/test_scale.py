"""Memory does not grow with the number of examples."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from relabel.workspace import REPOSITORY_ROOT


@pytest.mark.slow
def test_memory_and_pace_hold_from_eight_thousand_examples_to_forty_thousand(tmp_path):
    found = []
    for count in (8_192, 40_960):
        command = [sys.executable, "-m", "benchmarks.scale", "--one", str(count)]
        done = subprocess.run(
            [*command, "--folder", str(tmp_path)],
            cwd=REPOSITORY_ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(done.stdout))
    few, many = found
    # What scoring adds to the libraries; 32,768 more last-layer vectors alone would be 130 MB.
    added = [entry["peak"] - entry["libraries"] for entry in (few, many)]
    assert added[1] - added[0] < 30e6
    assert many["processor"] / 40_960 < 1.5 * few["processor"] / 8_192
