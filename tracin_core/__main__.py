"""``python -m tracin_core``."""

from __future__ import annotations

import sys

from tracin_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
