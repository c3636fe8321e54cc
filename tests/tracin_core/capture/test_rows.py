"""Rows as captum's, a Trainer's and torch's data sets have them give the same scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from tracin_core import Checkpoint, TracIn
from tracin_core.attribution import AttributionSetup, get_method
from tracin_core.errors import ConfigurationError, TracInError

torch.manual_seed(0)
FIRST, SECOND, LABELS = torch.randn(9, 4), torch.randn(9, 4), torch.arange(9) % 3
ROWS = list(zip(FIRST, SECOND, LABELS, strict=True))


class Joined(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(torch.cat([left, right], 1))


class Optional(Joined):
    """Does with one."""

    def forward(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        return super().forward(left, left if right is None else right)


def make(model: nn.Module, **options: Any) -> TracIn:
    return TracIn(model, Checkpoint(model.state_dict(), learning_rate=0.1), **options)


def collate(rows: list[Any]) -> dict[str, Tensor]:
    """As a Trainer's collator does it."""
    return {
        "left": torch.stack([row["left"] for row in rows]),
        "right": torch.stack([torch.tensor(row["right"]) for row in rows]),
        "labels": torch.tensor([int(row["label"]) for row in rows]),
    }


DICTS = [{"left": a, "right": b.tolist(), "label": c, "text": "a"} for a, b, c in ROWS]
FORMS: dict[str, Callable[[], Any]] = {
    "flat tuples": lambda: ROWS,
    "flat lists": lambda: [[*row] for row in ROWS],
    "three tensors": lambda: TensorDataset(FIRST, SECOND, LABELS),
    "a loader of three": lambda: DataLoader(TensorDataset(FIRST, SECOND, LABELS), 4),
    "a dict of columns": lambda: {"left": FIRST, "right": SECOND, "labels": LABELS},
    "a dict of arrays": lambda: {
        "left": FIRST.numpy(),
        "right": SECOND.tolist(),
        "label": LABELS.tolist(),
        "text": ["a"] * 9,
    },
    "a pair": lambda: ((FIRST, SECOND), LABELS),
    "a pair of arrays": lambda: [(FIRST.numpy(), SECOND.numpy()), LABELS.numpy()],
    "a dict and labels": lambda: ({"left": FIRST, "right": SECOND}, LABELS),
    "dicts": lambda: DICTS,
    "a loader of dicts": lambda: DataLoader(DICTS, 4, collate_fn=collate),
    "labels of a collator": lambda: [{"left": a, "right": b, "label_ids": c} for a, b, c in ROWS],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_scores(form: str) -> None:
    torch.manual_seed(1)
    tracin = make(Joined(), batch_size=5)
    expected = tracin.self_influence([((a, b), c) for a, b, c in ROWS])
    examples = FORMS[form]()
    torch.testing.assert_close(tracin.self_influence(examples), expected)
    scores = tracin.influence(examples, examples)
    torch.testing.assert_close(scores.diag(), expected)


@pytest.mark.parametrize(("workers", "own"), [(0, True), (1, False)])
def test_collators_and_workers_are_taken(workers: int, own: bool) -> None:
    torch.manual_seed(1)
    model = Joined()
    tracin = make(model, batch_size=5, num_workers=workers, collate_fn=collate if own else None)
    state = torch.get_rng_state()
    found = tracin.self_influence(DICTS)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(found, make(model).self_influence(ROWS))
    # Others are made of the same engine.
    assert tracin.at_checkpoint().collate_fn is tracin.collate_fn
    setup = AttributionSetup(tracin=tracin)
    (scores,) = get_method("embedding_similarity").make(setup).scores(DICTS).values()
    assert scores.shape == (9,)


UNCLEAR: dict[str, tuple[nn.Module, Any, str]] = {
    "a weight behind the target": (
        nn.Linear(4, 3),
        TensorDataset(FIRST, LABELS, LABELS.float()),
        "3 parts, which is 2 inputs and a target.*without what the model does not take",
    ),
    "two labels": (
        Optional(),
        TensorDataset(FIRST, LABELS, LABELS),
        r"either of the last two may be the target.*\(\(a, b\), target\)",
    ),
    "a column too many": (
        Joined(),
        [{"left": a, "right": b, "labels": c, "idx": 1} for a, b, c in ROWS],
        r"Rows have 'idx'.*expected some of left, right.*remove_columns\(\['idx'\]\)",
    ),
    "both labels": (
        Joined(),
        [{"left": a, "label": c, "labels": c} for a, b, c in ROWS],
        "labels 'labels' and 'label': leave one",
    ),
    "no label": (Joined(), [{"left": a, "right": b} for a, b, c in ROWS], "a key 'labels'"),
    "text alone": (Joined(), [{"text": "a", "label": 1}] * 4, "has the text 'a'.*tokenizer"),
    "numbers alone": (Joined(), [(1, 2, 0)] * 4, "Numbers alone do not say"),
    "rows of two kinds": (Joined(), [*ROWS[:3], (FIRST[0], 1)], "Example 3 is a tuple of 2 parts"),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_can_be_read_in_two_ways_is_refused(kind: str) -> None:
    model, examples, message = UNCLEAR[kind]
    with pytest.raises(TracInError, match=message):
        make(model).self_influence(examples)


def test_an_optional_input_is_one_where_it_is_no_label() -> None:
    tracin = make(Optional())
    expected = tracin.self_influence([((a, b), c) for a, b, c in ROWS])
    torch.testing.assert_close(tracin.self_influence(ROWS), expected)


def test_a_collator_that_sorts_is_refused() -> None:
    def backwards(rows: list[Any]) -> Any:
        return default_collate(sorted(rows, key=lambda row: float(row[0][0])))

    with pytest.raises(ConfigurationError, match="does not keep the order"):
        make(nn.Linear(4, 3), collate_fn=backwards).self_influence(TensorDataset(FIRST, LABELS))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"left": FIRST, "right": SECOND[:4], "labels": LABELS}, "'right': 4"),
        ({"left": FIRST, "labels": LABELS, "label": LABELS}, "one of them 'labels' or 'label'"),
        ({"left": FIRST, "right": 1.0, "labels": LABELS}, "'right': no column"),
        ({"labels": LABELS}, "these lengths: 'labels': 9"),
        ({"left": FIRST, "strange": SECOND, "labels": LABELS}, "forward does not take"),
    ],
    ids=["short", "two labels", "number", "alone", "strange"],
)
def test_a_dict_of_columns_that_is_no_data_set_is_refused(columns, message):
    with pytest.raises(ConfigurationError, match=message):
        make(Joined()).self_influence(columns)
