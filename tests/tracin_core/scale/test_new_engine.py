"""A new engine is one file in its folder."""

from __future__ import annotations

import sys

import pytest

from tests.tracin_core.scale.works import add_up
from tracin_core.errors import ConfigurationError
from tracin_core.scale import engines, list_engines, map_shards, registry

NEW = """
from tracin_core.scale.registry import register_engine
from tracin_core.scale.worker import do_shard

@register_engine("backwards", "the last shard first")
def run(work, queue, config):
    for index in reversed(queue.unfinished):
        yield do_shard(work, index, queue.shards[index])
"""


def test_a_new_file_is_an_engine_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "backwards_engine.py").write_text(NEW)
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "_ENGINES", dict(registry._ENGINES))
    monkeypatch.delitem(sys.modules, f"{engines.__name__}.backwards_engine", raising=False)
    assert list_engines()["backwards"].title == "the last shard first"
    done = map_shards(add_up, [range(2), range(2, 4)], "backwards")
    assert [one.index for one in done] == [1, 0]
    with pytest.raises(ConfigurationError, match="an engine called 'backwards' already"):
        registry.register_engine("backwards", "another")(lambda work, queue, config: iter(()))
