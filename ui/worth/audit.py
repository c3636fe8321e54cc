"""The audit on Overview: what share of the labels is wrong, live, and what was drawn."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.team.audits import DESIGNS, Audit, Design, read_audit
from relabel.text import counted
from relabel.worth.audit import (
    MIX_SHARE,
    MOST_DRAWS,
    TEACHING_SHARE,
    AuditPlan,
    draw_audit,
    extend_audit,
)
from relabel.worth.noise_rate import NoiseRate, read_noise_rate
from tracin_core.errors import TracInError
from ui.failures import report_errors
from ui.labels import is_regression
from ui.session import current_reviewer, get_engine, get_workspace
from ui.wording import escape_markdown, moment_text, percent

_MESSAGE = "audit-message"
DESIGN_WORDS: dict[Design, str] = {
    "uniform": "Every example alike",
    "weighted": "Likely errors more often",
}
WHY = (
    "The queue shows its most suspect examples, so what it finds says nothing of the rest. An "
    "audit draws examples at random; they come mixed into the review, where nothing tells them "
    "from the others, and only their answers count for the rate."
)
# Seconds between two looks while answers may come in.
_EVERY = 5


def draw_audit_section(project: Project, run: Run) -> None:
    """Draw the rate of wrong labels and the audit that it comes from."""
    st.header("How many labels are wrong", anchor=False)
    if fault := st.session_state.pop(_MESSAGE, ""):
        st.warning(escape_markdown(fault))
    with report_errors(without="The rest of the page does without it."):
        noise = read_noise_rate(get_engine(), project.id)
        if noise is None:
            st.caption(WHY)
        else:
            every = _EVERY if noise.num_open > noise.num_skipped else None
            st.fragment(_draw_rate, run_every=every)(project, run)
        _draw_plan(project, run, is_first=noise is None)


def _draw_rate(project: Project, run: Run) -> None:
    noise = read_noise_rate(get_engine(), project.id)
    audit = read_audit(get_engine(), project.id)
    if noise is None or audit is None:
        return
    with st.container(horizontal=True):
        st.metric("Labels that are wrong", f"{noise.rate:.1%}", border=True)
        st.metric("95% interval", f"{noise.low:.1%} – {noise.high:.1%}", border=True)
        st.metric("Answered", f"{noise.num_audited:,} of {noise.num_drawn:,}", border=True)
        st.metric("Wrong among them", f"{noise.num_wrong:,}", border=True)
    st.caption(escape_markdown(describe_noise(noise)))
    if not is_regression(project) and noise.num_audited:
        with st.expander("By class", key="noise-by-class"):
            st.dataframe(
                _tabulate(noise),
                hide_index=True,
                key="noise-classes",
                alt="Share of wrong labels by given label, with 95% intervals",
            )
    _draw_more(project, run, noise)
    with st.expander("How it was drawn", key="how-drawn"):
        for line in describe_draw(audit):
            st.text(line)


def describe_noise(noise: NoiseRate) -> str:
    """Return what the figures mean, in sentences."""
    if not noise.num_audited:
        return (
            f"{counted(noise.num_drawn, 'item')} drawn; none is answered yet. They come mixed into "
            "Review while no filter is set there."
        )
    words = (
        f"Of {noise.num_examples:,} given labels between {noise.low * noise.num_examples:,.0f} and "
        f"{noise.high * noise.num_examples:,.0f} are wrong: so it comes out in 95 of 100 such "
        "audits, if the answers are right. What the ranked queue found is not in it."
    )
    if noise.num_skipped:
        words += (
            f" {counted(noise.num_skipped, 'item')} skipped: if those are the hard ones, the true "
            "rate is another. They come again at the end of the queue."
        )
    if noise.design == "weighted" and noise.uniform_worth > noise.num_audited:
        words += f" As narrow as {noise.uniform_worth:,.0f} items drawn alike would make it."
    return words


def _tabulate(noise: NoiseRate) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Given label": [one.name for one in noise.by_class],
            "Examples": [one.num_examples for one in noise.by_class],
            "Answered": [one.num_audited for one in noise.by_class],
            "Wrong": [one.num_wrong for one in noise.by_class],
            "Estimated share": [
                percent(one.rate) if one.num_audited else "–" for one in noise.by_class
            ],
            "95% interval": [
                f"{percent(one.low)} – {percent(one.high)}" if one.num_audited else "–"
                for one in noise.by_class
            ],
        }
    )


def _draw_more(project: Project, run: Run, noise: NoiseRate) -> None:
    """Draw how many more items narrow the interval to a width that is wished."""
    if not noise.num_audited:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wished = st.number_input(
            "Wished width, ± percentage points",
            min_value=0.5,
            max_value=30.0,
            value=3.0,
            step=0.5,
            key="audit-width",
            width=260,
        )
        more = noise.count_more(wished / 100) or 0
        missing = max(0, more - noise.num_open)
        st.button(
            f"Draw {missing:,} more",
            key="draw-more",
            disabled=not missing or missing + noise.num_drawn > MOST_DRAWS,
            on_click=_extend,
            args=(project, run, missing),
        )
    if more:
        st.caption(
            f"{counted(more, 'more item')} narrow it to about ±{wished:g} points, of which "
            f"{min(more, noise.num_open):,} are drawn already. Drawing on until a result pleases "
            "makes it untrue; a width may be chosen."
        )
    else:
        st.caption(f"It is that narrow: ±{100 * noise.half_width:.1f} points.")


def describe_draw(audit: Audit) -> list[str]:
    """Return who drew what, such that it can be drawn again and compared."""
    frame = audit.frame
    lines = [
        f"Drawn by {audit.by} on {moment_text(audit.created_at)}, "
        f"{counted(audit.num_drawn, 'draw')} from {frame.num_examples:,} train examples: "
        f"{DESIGN_WORDS[audit.design].lower()}.",
        f"Seed {audit.seed}, run {frame.run}, digest of the examples {frame.keys_digest[:16]}.",
    ]
    if frame.guesses:
        lines.append(f"Guesses of errors: {frame.guesses}; digest {frame.guesses_digest[:16]}.")
    lines.append(
        f"{percent(frame.mix_share)} of what Review hands out; {percent(frame.teaching_share)} of "
        "the examples teach the queue’s order and so certify no recall."
    )
    lines.append("“relabel audit PROJECT --check” draws it again and compares.")
    return lines


def _draw_plan(project: Project, run: Run, *, is_first: bool) -> None:
    title = "Draw an audit" if is_first else "Draw a new audit instead"
    with st.expander(title, expanded=False, key="draw-an-audit"):
        if not is_first:
            st.caption(WHY)
        left, right = st.columns(2, gap="large")
        with left:
            size = st.number_input(
                "Items", min_value=1, max_value=MOST_DRAWS, value=100, step=10, key="audit-size"
            )
            design = st.radio(
                "Drawn", DESIGNS, format_func=DESIGN_WORDS.__getitem__, key="audit-design"
            )
        with right:
            mix = st.number_input(
                "Percent of what Review hands out",
                min_value=5,
                max_value=100,
                value=round(100 * MIX_SHARE),
                step=5,
                key="audit-mix",
            )
            teaching = st.number_input(
                "Percent that teach the queue’s order",
                min_value=0,
                max_value=100,
                value=round(100 * TEACHING_SHARE),
                step=10,
                key="audit-teaching",
            )
        st.caption(
            "100 items drawn alike tell a rate of 10% to about ±6 points. Drawing likely errors "
            "more often tells it with fewer, but no rule for stopping can be built on it. Whatever "
            "teaches the order cannot certify how much of the errors that order has found, so the "
            "items are divided by lot; all of them count for the rate."
        )
        plan = (int(size), design, mix / 100, teaching / 100)
        st.button("Draw the audit", key="draw-audit", on_click=_draw, args=(project, run, plan))


def _draw(project: Project, run: Run, plan: tuple[int, Design, float, float]) -> None:
    size, design, mix, teaching = plan
    try:
        chosen = AuditPlan(size=size, design=design, mix_share=mix, teaching_share=teaching)
        folder = get_workspace().project_folder(project.slug)
        draw_audit(get_engine(), folder, run, chosen, by=current_reviewer())
    except TracInError as error:
        st.session_state[_MESSAGE] = str(error)


def _extend(project: Project, run: Run, more: int) -> None:
    try:
        folder = get_workspace().project_folder(project.slug)
        extend_audit(get_engine(), folder, run, more, by=current_reviewer())
    except TracInError as error:
        st.session_state[_MESSAGE] = str(error)
