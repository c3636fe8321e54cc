"""A benchmark's page names the processor, because ratios move with it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.machine import describe_machine, describe_processor


def test_the_processor_is_named_with_its_clock(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nmodel name\t: Quick One\ncpu MHz\t\t: 2450.12\n\n")
    assert describe_processor(told) == "Quick One at 2.5 GHz"


def test_a_system_that_tells_less_is_named_as_far_as_it_does(tmp_path: Path) -> None:
    assert describe_processor(tmp_path / "nothing") != ""
    assert describe_machine().startswith("torch ")
