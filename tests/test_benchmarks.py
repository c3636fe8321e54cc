"""The report replaces the parts of its page and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.report import NEEDS_DATA, NEEDS_GPU, PAGE, PARTS, fill, main


def test_every_part_has_its_place_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for part in PARTS:
        assert "| new |" in fill(page, part, "| new |")


def test_a_part_is_replaced_and_the_rest_stays() -> None:
    page = "a\n<!-- begin queue -->\nold\n<!-- end queue -->\nb\n"
    once = fill(page, "queue", "new")
    assert once == "a\n<!-- begin queue -->\n\nnew\n\n<!-- end queue -->\nb\n"
    assert fill(once, "queue", "new") == once


def test_a_part_without_a_place_is_named() -> None:
    with pytest.raises(ValueError, match="no part 'queue'"):
        fill("nothing", "queue", "new")


def test_without_a_choice_every_part_is_measured(monkeypatch, tmp_path, capsys) -> None:
    page = tmp_path / "benchmarks.md"
    marks = "".join(f"<!-- begin {part} -->\n<!-- end {part} -->\n" for part in PARTS)
    page.write_text(marks, encoding="utf-8")
    measured: list[str] = []
    monkeypatch.setattr("benchmarks.report.PAGE", page)
    monkeypatch.setattr("benchmarks.report.run_part", lambda part: measured.append(part) or "x")
    monkeypatch.setattr("sys.argv", ["report"])
    monkeypatch.delenv("TRACIN_BENCHMARK_DATA", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    main()
    assert measured == [part for part in PARTS if part not in (*NEEDS_DATA, *NEEDS_GPU)]
    told = capsys.readouterr().out
    assert all(f"{part}: skipped" in told for part in (*NEEDS_DATA, *NEEDS_GPU))
