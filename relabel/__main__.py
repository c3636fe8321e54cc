"""``python -m relabel``."""

from __future__ import annotations

import sys

from relabel.cli import main

if __name__ == "__main__":
    sys.exit(main())
