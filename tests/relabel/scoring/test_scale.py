"""Memory does not grow with the number of examples."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from relabel.workspace import REPOSITORY_ROOT

SCORE = """
import json, sys
from pathlib import Path
from benchmarks.scale import score
print(json.dumps([score(count, Path(sys.argv[1])) for count in (4_096, 20_480)]))
"""


@pytest.mark.slow
def test_memory_and_pace_hold_from_four_thousand_examples_to_twenty_thousand(tmp_path):
    # One process for both, the smaller first: the largest memory so far only ever grows.
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(tmp_path)],
        cwd=REPOSITORY_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    few, many = json.loads(done.stdout)
    # What scoring adds to the libraries; 16,384 more last-layer vectors alone would be 65 MB.
    assert many["peak"] - few["peak"] < 30e6
    assert many["processor"] / 20_480 < 1.5 * few["processor"] / 4_096
