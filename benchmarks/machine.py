"""What a benchmark ran on, in the words of its first line."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

CPU_INFORMATION = Path("/proc/cpuinfo")


def describe_machine() -> str:
    """Return torch's version, the processor, its clock and the widest instructions torch uses."""
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {describe_processor()}, {instructions}"


def describe_processor(information: Path = CPU_INFORMATION) -> str:
    """Return the name and the clock of the processor, as far as the system tells.

    Args:
        information: Linux's description of the processors.
    """
    try:
        lines = information.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    name = fields.get("model name") or platform.machine()
    clock = fields.get("cpu MHz")
    return f"{name} at {float(clock) / 1e3:.1f} GHz" if clock else name
