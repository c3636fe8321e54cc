"""Fuzz one part in this process and print its figures.

    python -m tests.fuzz imports FOLDER --cases 400

The folder is made new. Memory is limited: what asks for all of it ends alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from tests.fuzz.watching import INSIDE, limit_memory

PARTS = ("imports", "backups", "addresses")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    root = options.folder.resolve()
    root.mkdir(parents=True)
    for name in (*INSIDE, "cwd"):
        (root / name).mkdir()
    # What is written by a relative name is then seen.
    os.chdir(root / "cwd")
    tempfile.tempdir = os.environ["TMPDIR"] = str(root / "tmp")
    limit_memory()
    cases = range(options.first, options.first + options.cases)
    if options.part == "imports":
        from tests.fuzz.imports import fuzz_imports as fuzz
    elif options.part == "backups":
        from tests.fuzz.backups import fuzz_backups as fuzz
    else:
        from tests.fuzz.addresses import fuzz_addresses as fuzz
    print(json.dumps(fuzz(root, cases).as_dict()))


if __name__ == "__main__":
    main()
