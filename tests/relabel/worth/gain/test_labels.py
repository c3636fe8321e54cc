"""Which labels are compared: as given, as corrected, and the control."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from relabel.worth.gain.labels import AuditedRate, SplitLabels, draw_control, read_reviewed
from tests.relabel.scoring.small_projects import make_texts, open_workspace
from tests.relabel.worth.gain.small import correct_texts, decide


def make_split(count=1_000, decided=200, wrong=80, excluded=10) -> SplitLabels:
    given = np.zeros(count, dtype=np.int64)
    current = given.copy()
    current[:wrong] = 1
    out = np.zeros(count, dtype=bool)
    out[:excluded] = True
    current[:excluded] = 0
    return SplitLabels(given, current, np.arange(count) < decided, out, 0)


def test_the_database_says_what_is_corrected_excluded_and_ambiguous(tmp_path):
    engine, _ = open_workspace(tmp_path)
    project = make_texts(engine, wrong=(1, 4, 9))
    correct_texts(engine, project, (1, 4))
    decide(engine, project, 9, "exclude")
    decide(engine, project, 3, "ambiguous")
    decide(engine, project, 5, "keep")
    decide(engine, project, 7, "skip")
    decide(engine, project, 0, "relabel", split="test", new_label=1)
    found = read_reviewed(engine, project)
    assert np.flatnonzero(found.train.decided).tolist() == [1, 3, 4, 5, 9]
    assert np.flatnonzero(found.train.wrong).tolist() == [1, 4, 9]
    assert np.flatnonzero(found.train.excluded).tolist() == [9]
    assert found.train.ambiguous == 1
    corrected = found.train.as_corrected()
    assert corrected.targets[[1, 4]].tolist() == [1, 0]
    assert not corrected.kept[9]
    assert corrected.kept.sum() == 59
    assert found.train.as_given().targets[[1, 4]].tolist() == [0, 1]
    assert np.flatnonzero(found.test.wrong).tolist() == [0]
    engine.dispose()


@given(seed=st.integers(0, 10_000), audited=st.booleans())
def test_a_control_changes_only_what_was_found_wrong(seed, audited):
    split = make_split()
    control = draw_control(split, seed, AuditedRate(0.2, 0.1, 0.3, 100) if audited else None)
    changed = (control.targets != split.given) | ~control.kept
    assert not changed[~split.wrong].any()
    assert (control.targets[changed & control.kept] == 1).all()
    assert not control.kept[changed & split.excluded].any()


def test_random_reviews_without_an_audit_meet_known_errors_by_chance():
    # 200 of 1,000 are drawn and 80 known errors are among these, so 16 are met on average.
    split = make_split()
    met = [
        int(((one.targets != split.given) | ~one.kept).sum())
        for one in (draw_control(split, seed, None) for seed in range(400))
    ]
    assert abs(np.mean(met) - 16) < 4 * 3.5 / 20  # the hypergeometric deviation is about 3.5


def test_random_reviews_with_an_audit_find_its_share():
    split, audited = make_split(), AuditedRate(0.1, 0.07, 0.14, 300)
    met = [
        int(((one.targets != split.given) | ~one.kept).sum())
        for one in (draw_control(split, seed, audited) for seed in range(400))
    ]
    assert abs(np.mean(met) - 20) < 4 * 4.3 / 20  # 200 reviews, one in ten wrong
    everything = draw_control(split, 0, AuditedRate(0.9, 0.8, 1.0, 300))
    assert ((everything.targets != split.given) | ~everything.kept).sum() == 80


def test_seeds_draw_apart_and_again_the_same():
    split = make_split()
    one, same, other = (draw_control(split, seed, None) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)
