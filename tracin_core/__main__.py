"""``python -m tracin_core``: the engine has no commands, so say where they are."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    print(
        "tracin_core is a library and has no commands. Expected the label review: its command line "
        "is `python -m relabel`, or `relabel` where tracin-relabel is installed.",
        file=sys.stderr,
    )
    sys.exit(2)
