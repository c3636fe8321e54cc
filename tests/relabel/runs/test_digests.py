"""Digests tell apart what a run depends on, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from relabel.runs.folder import (
    Content,
    digest_content,
    digest_example,
    read_digests,
    stack_digests,
    write_digests,
)

CONTENTS: list[Content] = ["", "a", "b", '{"a": 1}', {"a": 1}, {"a": None}, {"b": 1}, b"a", b"b"]


def test_each_target_and_each_content_has_a_digest_of_its_own():
    digests = {digest_example(target, content) for target in (0, 1, 0.5) for content in CONTENTS}
    assert len(digests) == 3 * len(CONTENTS)
    assert {len(digest) for digest in digests} == {16}


def test_the_same_again_has_the_same_digest():
    assert digest_example(1, {"a": 1}) == digest_example(1, {"a": 1})
    assert digest_content("a") != digest_content("b")
    assert digest_example(0, "\ud800") == digest_example(0, "\ud800")  # no valid Unicode


@pytest.mark.parametrize("damage", ["cut", "header", "of other examples"])
def test_digests_that_are_not_whole_are_not_relied_on(tmp_path: Path, damage: str):
    path = tmp_path / "digests.npy"
    digests = stack_digests(map(digest_content, CONTENTS))
    write_digests(path, digests)
    assert (read_digests(path, len(CONTENTS)) == digests).all()  # type: ignore[union-attr]
    if damage == "of other examples":
        write_digests(path, digests[1:])
    else:
        content = path.read_bytes()
        # Brackets that nothing closes: NumPy reads a header as Python.
        path.write_bytes(content[:-1] if damage == "cut" else content.replace(b"}", b"(", 1))
    assert read_digests(path, len(CONTENTS)) is None
