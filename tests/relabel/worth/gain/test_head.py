"""The linear model that is trained on several sets of labels at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
import torch

from relabel.worth.gain import head
from relabel.worth.gain.head import train_heads
from relabel.worth.gain.labels import Labels

COUNT, WIDTH, CLASSES = 300, 6, 3


def make_rows(seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, CLASSES, COUNT + 100)
    centres = generator.normal(0, 1, (CLASSES, WIDTH))
    rows = centres[truth] + generator.normal(0, 0.5, (COUNT + 100, WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), truth


def arm(targets, kept=None) -> Labels:
    return Labels(targets, np.ones(COUNT, dtype=bool) if kept is None else kept)


ASKED = np.arange(COUNT, COUNT + 100)


def test_together_or_alone_the_same_is_learned():
    rows, truth = make_rows()
    wrong = truth[:COUNT].copy()
    wrong[::7] = (wrong[::7] + 1) % CLASSES
    kept = np.arange(COUNT) % 5 > 0
    arms = [arm(truth[:COUNT]), arm(wrong), arm(wrong, kept)]
    together = train_heads(rows, arms, ASKED, num_classes=CLASSES, seed=3)
    for told, one in zip(together, arms, strict=True):
        alone = train_heads(rows, [one], ASKED, num_classes=CLASSES, seed=3)[0]
        assert (told == alone).all()
    assert (together[0] == truth[COUNT:]).mean() > 0.8


def test_steps_are_those_of_torch(monkeypatch):
    rows, truth = make_rows()
    monkeypatch.setattr(head, "EPOCHS", 2)
    monkeypatch.setattr(head, "LEAST_STEPS", 1)
    kept = np.arange(COUNT) % 4 > 0
    told = train_heads(rows, [arm(truth[:COUNT], kept)], ASKED, num_classes=CLASSES, seed=5)[0]
    generator = np.random.default_rng(5)
    model = torch.nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        start = generator.standard_normal((WIDTH, CLASSES)) * head.SPREAD
        model.weight.copy_(torch.from_numpy(start.astype(np.float32)).T)
        model.bias.zero_()
    largest = head.RATE / float(np.square(rows[:COUNT]).sum(axis=1).mean())
    optimizer = torch.optim.SGD(model.parameters(), lr=largest, momentum=head.MOMENTUM)
    done, steps = 0, 2 * math.ceil(COUNT / head.BATCH)
    targets, weights = torch.from_numpy(truth), torch.from_numpy(kept.astype(np.float32))
    for _ in range(2):
        for chosen in torch.from_numpy(generator.permutation(COUNT)).split(head.BATCH):
            optimizer.param_groups[0]["lr"] = largest * 0.5 * (1 + math.cos(math.pi * done / steps))
            losses = torch.nn.functional.cross_entropy(
                model(torch.from_numpy(rows)[chosen]), targets[chosen], reduction="none"
            )
            loss = (losses * weights[chosen]).sum() / len(chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    with torch.no_grad():
        said = model(torch.from_numpy(rows[ASKED])).argmax(dim=1).numpy()
    assert (told == said).all()


def test_sparse_rows_teach_the_same():
    rows, truth = make_rows()
    dense = train_heads(rows, [arm(truth[:COUNT])], ASKED, num_classes=CLASSES, seed=1)
    sparse = scipy.sparse.csr_matrix(rows)
    assert (train_heads(sparse, [arm(truth[:COUNT])], ASKED, num_classes=CLASSES, seed=1)
            == dense).all()  # fmt: skip


def test_what_is_left_out_has_no_say():
    rows, truth = make_rows()
    kept = np.arange(COUNT) % 3 > 0
    one, other = truth[:COUNT].copy(), truth[:COUNT].copy()
    other[~kept] = (other[~kept] + 1) % CLASSES
    told = train_heads(rows, [arm(one, kept), arm(other, kept)], ASKED, num_classes=CLASSES, seed=0)
    assert (told[0] == told[1]).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_are_learned_in_their_own_unit(seed):
    generator = np.random.default_rng(seed)
    rows = generator.normal(0, 1, (COUNT + 100, WIDTH)).astype(np.float32)
    values = 1000 + 50 * rows @ generator.normal(0, 1, WIDTH)
    scale = (float(values[:COUNT].mean()), float(values[:COUNT].std()))
    told = train_heads(rows, [arm(values[:COUNT])], ASKED, num_classes=0, seed=seed, scale=scale)
    assert 1 - np.var(told[0] - values[COUNT:]) / np.var(values[COUNT:]) > 0.99


def test_an_interruption_ends_it():
    rows, truth = make_rows()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_heads(rows, [arm(truth[:COUNT])], ASKED, num_classes=CLASSES, seed=0, on_step=stop)
