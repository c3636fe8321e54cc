"""Changed imports, backups and addresses: a result or our own words, and nothing outside."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest

from benchmarks.fuzzing import CASES, fuzz, make_table
from tests.fuzz.changes import WAYS, change_archive, change_bytes, change_json
from tests.fuzz.watching import TookTooLongError, draw_for, time_limit, watch
from tracin_core.errors import InputError

SOUND = b"some bytes that are long enough to be changed in every way" * 3


@pytest.mark.slow
@pytest.mark.parametrize("part", CASES)
def test_whatever_is_changed_is_taken_or_refused_in_words(part: str, tmp_path: Path) -> None:
    found = fuzz(part, CASES[part], tmp_path / part)
    print(make_table([found]))
    assert found["faults"] == []
    assert found["accepted"] > 0
    assert found["refused"] > CASES[part] // 10


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_changes_something(way) -> None:
    for number in range(5):
        data = bytearray(SOUND)
        way(draw_for("ways", number), data, b"other" * 20)
        if bytes(data) != SOUND:
            return
    pytest.fail("nothing was changed")


def test_a_case_is_the_same_in_every_run() -> None:
    one, two = (change_bytes(draw_for("x", 3), SOUND, b"other") for _ in range(2))
    assert one == two
    assert one != change_bytes(draw_for("x", 4), SOUND, b"other")


def test_an_archive_stays_one_with_other_members() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", SOUND)
        archive.writestr("b.txt", SOUND)
    found = set()
    for number in range(30):
        draw = draw_for("archive", number)
        changed = change_archive(draw, buffer.getvalue(), lambda d, _, c: change_bytes(d, c))
        with zipfile.ZipFile(io.BytesIO(changed)) as archive:
            found |= {(info.filename, info.file_size) for info in archive.infolist()}
    assert len({name for name, _ in found}) > 3
    assert len({size for _, size in found}) > 3


def test_json_is_changed_in_any_place() -> None:
    value = {"a": {"b": [1, 2, {"c": "x"}]}, "d": None}
    changed = [change_json(random.Random(n), value) for n in range(40)]
    assert value == {"a": {"b": [1, 2, {"c": "x"}]}, "d": None}
    assert any(one.get("d") is not None for one in changed if isinstance(one, dict))
    assert len({repr(one) for one in changed}) > 20


def test_what_may_not_be_is_seen(tmp_path: Path) -> None:
    for name in ("work", "data", "tmp"):
        (tmp_path / name).mkdir()

    def run(number: int) -> str:
        if number == 0:
            raise InputError("Found this; expected that. Do so.")
        if number == 1:
            raise InputError(" ")
        if number == 2:
            raise KeyError("x")
        if number == 3:
            (tmp_path / "escaped.txt").write_bytes(b"")
        if number == 4:
            (tmp_path / "work" / "x").write_bytes(b"")
        return "kind"

    figures = watch("part", range(6), run, tmp_path)
    assert (figures.accepted, figures.refused) == (3, 2)
    assert [fault[:30].split(":")[1].strip()[:7] for fault in figures.faults] == [
        "refused",
        "KeyErro",
        "wrote o",
    ]


def run_for_ever() -> None:
    while True:
        pass


def test_a_case_that_does_not_end_is_ended() -> None:
    with pytest.raises(TookTooLongError), time_limit(1):
        run_for_ever()
