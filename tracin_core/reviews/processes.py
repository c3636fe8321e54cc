"""Whether a process of this host is still at work."""

from __future__ import annotations

import os
from pathlib import Path


def process_is_alive(pid: int) -> bool:
    """Return whether a process of this host exists and is more than a zombie."""
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed child stays a zombie until its parent asks for it, which a server may never do.
    # Linux tells in /proc; the state follows the command name, which is in parentheses.
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(errors="replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return not Path("/proc/self/stat").exists()
