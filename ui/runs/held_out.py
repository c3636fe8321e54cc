"""How well kinds of models agree with labels that they have not seen, beside the network itself."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.runs.held_out import CandidateResult, HeldOutSummary, recall_summary
from relabel.text import counted, format_seconds
from relabel.triage.model_quality import describe_not_asked
from ui.labels import is_regression
from ui.runs.model_quality import judge_model
from ui.wording import escape_markdown, percent

HEADING = "What models that have not seen an example say"
NOT_ASKED = (
    "The run that is shown has no such predictions: it is of an earlier version, or none were "
    "asked for. Train again to have them, or score again at checkpoints of your own; until then "
    "the network that has seen the labels suggests others itself."
)


def draw_comparison(project: Project, run: Run) -> None:
    """Draw the kinds of models that were compared, and in sample beside out of fold."""
    st.header(HEADING, anchor=False)
    summary = recall_summary(run.config)
    if summary is None:
        reason = str(run.config.get("not_asked") or "")
        st.caption(escape_markdown(describe_not_asked(reason) if reason else NOT_ASKED))
        return
    agreement, choice, *by_heart = judge_model(project, run).unseen
    _draw_measures(project, run, summary)
    if by_heart:
        st.info(escape_markdown(" ".join(by_heart)))
    st.dataframe(
        _table(project, run, summary),
        hide_index=True,
        alt=escape_markdown(agreement),
        placeholder="–",
        key="held-out",
    )
    st.caption(escape_markdown(f"{choice} {_describe_folds(summary)}"))
    for note in summary.notes:
        st.caption(escape_markdown(note))


def _draw_measures(project: Project, run: Run, summary: HeldOutSummary) -> None:
    share = "the share of the given train labels that"
    if is_regression(project):
        share = "the share of the train numbers' variance that"
    tells = "explains" if is_regression(project) else "predicts"
    seen = run.config.get("seen_agreement")
    with st.container(horizontal=True, gap="large"):
        st.metric(
            "The network, which learned from them",
            percent(None if seen is None else float(seen)),
            help=f"In sample: {share} the network {tells} at its last checkpoint, having learned "
            "from them.",
            width="content",
        )
        st.metric(
            "Models that have not seen them",
            percent(summary.agreement),
            help=f"Out of fold: {share} is told by all kinds together, by models that have not "
            "seen it.",
            width="content",
        )


def _table(project: Project, run: Run, summary: HeldOutSummary) -> pd.DataFrame:
    agrees = "Explained variance" if is_regression(project) else "Agrees with given labels"
    loss = "Mean squared error" if is_regression(project) else "Loss (nats)"
    model = str(dict(run.config.get("model") or {}).get("name", ""))
    rows = [
        {
            "Kind of model": one.title,
            agrees: percent(one.agreement),
            loss: f"{one.loss:.3f}",
            "Took": format_seconds(one.seconds),
            "Part in the suspicion": percent(one.weight),
            "For TracIn": _say_choice(one, model),
        }
        for one in summary.candidates
    ]
    together = {
        "Kind of model": "All together",
        agrees: percent(summary.agreement),
        loss: "",
        "Took": format_seconds(summary.seconds),
        "Part in the suspicion": percent(1.0),
        "For TracIn": "",
    }
    return pd.DataFrame([*rows, together])


def _say_choice(one: CandidateResult, model: str) -> str:
    """Return whether a kind of model is the network that TracIn explains, or could be."""
    if not one.network:
        return ""
    return "explained here" if one.network == model else "could be explained"


def _describe_folds(summary: HeldOutSummary) -> str:
    """Return how the examples were cut, and what features the models read."""
    times = "" if summary.repeats == 1 else f", cut {summary.repeats} times"
    others = counted(summary.num_test, "test example")
    also = f" and {others}, whose labels they learn from, too," if summary.num_test else ""
    cut = f"{counted(summary.num_examples, 'train example')}{also} in {summary.folds} folds{times}"
    features = f"; features by {summary.features}" if summary.features else ""
    return f"{cut}{features}."
