"""Demos are taken from the cache while nothing that made them has changed, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import demo_cache
from tests.demo_cache import MOST_KEPT, digest_sources, find_cache, keep_copy, take_copy


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of one file, in the place of ours."""
    file = tmp_path / "program" / "tracin_core" / "demo.py"
    file.parent.mkdir(parents=True)
    file.write_text("SEED = 0")
    monkeypatch.setattr(demo_cache, "REPOSITORY_ROOT", tmp_path / "program")
    return file


def test_another_line_or_file_of_the_program_gives_another_digest(program: Path):
    before = digest_sources()
    assert digest_sources() == before
    program.write_text("SEED = 1")
    changed = digest_sources()
    program.with_name("more.py").write_text("")
    assert len({before, changed, digest_sources()}) == 3


def test_what_is_kept_is_copied_and_nothing_else_is_found(tmp_path: Path):
    cache, built = tmp_path / "cache", tmp_path / "built"
    cache.mkdir()
    built.mkdir()
    (built / "tracin.db").write_text("first")
    assert not take_copy(cache, "a", tmp_path / "none")
    keep_copy(cache, "a", built)
    assert take_copy(cache, "a", tmp_path / "one")
    (tmp_path / "one" / "tracin.db").write_text("written by a test")
    assert take_copy(cache, "a", tmp_path / "two")
    assert (tmp_path / "two" / "tracin.db").read_text() == "first"
    assert not take_copy(cache, "b", tmp_path / "other")


def test_the_newest_are_kept_and_a_half_made_copy_is_none(tmp_path: Path):
    cache, built = tmp_path / "cache", tmp_path / "built"
    (cache / "unfinished").mkdir(parents=True)
    built.mkdir()
    for number, digest in enumerate("abcd"):
        keep_copy(cache, digest, built)
        os.utime(cache / digest, (number, number))
    assert MOST_KEPT == 3
    assert sorted(one.name for one in cache.iterdir() if one.is_dir()) == ["b", "c", "d"]


def test_they_are_kept_for_every_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = find_cache()
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path)
