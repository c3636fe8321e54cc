"""A family of backbones is one file, and is offered wherever backbones are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from unittest import mock

import numpy as np
import pytest

from relabel.doctor import diagnose
from relabel.features.backbones import families, registry
from relabel.features.frozen import begin_features
from relabel.workspace import resolve_workspace
from tracin_core.errors import ConfigurationError

SOURCE = '''
    """Counts letters."""

    import numpy as np

    from relabel.features.backbones.registry import (
        BackboneFamily, FoundBackbone, register_backbones
    )


    class Letters:
        size, dim = 0, 26

        def compute(self, contents):
            counts = [[text.count(chr(97 + n)) for n in range(26)] for text in contents]
            return np.array(counts, dtype=np.float32)


    def find(request):
        return FoundBackbone(request=request, files=())


    register_backbones(
        BackboneFamily(
            name="letters", title="Letters", description="Counts.", kind="text", find=find,
            load=lambda found: Letters(), look=lambda: "always at hand",
        )
    )
'''


@pytest.fixture
def letters(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "letters.py").write_text(dedent(SOURCE), encoding="utf-8")
    registry.list_backbones()  # the others first, which stay
    with (
        mock.patch.object(families, "__path__", [*families.__path__, str(tmp_path)]),
        mock.patch.object(registry, "_FAMILIES", dict(registry._FAMILIES)),
    ):
        registry._load_families.cache_clear()
        try:
            yield
        finally:
            sys.modules.pop(f"{families.__name__}.letters", None)
    registry._load_families.cache_clear()


def test_a_family_of_one_file_is_offered_and_makes_features(letters, tmp_path, monkeypatch):
    encoder = begin_features("text", "letters")
    assert encoder.read("abba").tolist() == [2, 2, *[0] * 24]
    assert encoder.read("abba").dtype == np.float16
    with pytest.raises(ConfigurationError, match=r"expected one of these: wordllama, letters, "):
        begin_features("text", "none")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "work"))
    told = [finding.text for finding in diagnose(resolve_workspace())]
    assert "letters: always at hand" in told


def test_it_is_gone_where_its_file_is():
    assert "letters" not in [family.name for family in registry.list_backbones()]
