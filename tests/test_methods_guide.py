"""The guide to the methods names all there are with their options, and its blocks run."""

from __future__ import annotations

import re
from dataclasses import fields

import torch

from relabel.workspace import REPOSITORY_ROOT
from tests.tracin_core.curvature import small
from tracin_core import AttributionSetup, list_methods
from tracin_core.curvature.config import SOLVERS, InfluenceConfig

GUIDE = (REPOSITORY_ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
TABLE = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", GUIDE.partition("```")[0], flags=re.MULTILINE)


def test_every_method_stands_in_the_table_with_its_options():
    assert {name for name, _ in TABLE} == set(list_methods())
    tracin = small.make_tracin()
    for name, said in TABLE:
        method = list_methods()[name].make(AttributionSetup(tracin=tracin))
        own = set(method.configuration) - {"rates", "projection"}
        if name != "influence_functions":  # which has a table of its own
            assert set(re.findall(r"`(\w+)`", said)) == own


def test_every_option_and_solver_of_influence_functions_is_told():
    section = GUIDE.partition("## Influence functions")[2].partition("\n## ")[0]
    rows = "\n".join(re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE))
    told = set(re.findall(r"`(\w+)`", rows))
    assert told == {field.name for field in fields(InfluenceConfig)} | set(SOLVERS) - {"auto"}


def test_its_blocks_run(capsys):
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "guide"}
    for number, block in enumerate(BLOCKS, start=1):
        exec(compile(block, f"methods.md, block {number}", "exec"), names)  # noqa: S102
    assert "torch.Size([60, 5])" in capsys.readouterr().out
