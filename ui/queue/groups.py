"""Groups of the queue, each a way to its own examples; and what comes after a group.

By given and suggested label, and by what examples are alike in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from relabel.db.engine import reading
from relabel.db.examples import ExampleView, load_views
from relabel.db.groups import ExampleGroup, LabelPair, list_groups, order_groups
from relabel.db.project_rules import Project
from relabel.db.runs import Run, get_run, read_group_counts
from relabel.runs.groups import GROUP_KINDS
from relabel.text import Split, counted, shorten
from ui.address import choose_mode
from ui.components.cards import Card, Tag, show_cards
from ui.fields import card_fields, row_of
from ui.galleries import card_text, describe_content
from ui.labels import is_regression, name_label
from ui.navigation import open_page
from ui.queue.filters import NO_GROUPS, QueueView, forget_filters, name_group_kind
from ui.queue.pairs import (
    draw_pair,
    draw_pairs,
    read_pairs,
    show_all,
    show_decided,
    suggests_labels,
)
from ui.server.pictures import thumbnail_address
from ui.session import get_engine, get_workspace
from ui.wording import escape_markdown

_A_PAGE = 12
_LABELS_NAMED = 3
_PAIRS = "labels"
_OPENED = "groups-opened"
_CLUSTERS = "Clusters"
# What a kind of group is, and what to make of it.
_HELP = {
    "same": "Contents that are equal to the last byte. Where they have different labels, one of "
    "them is wrong at least.",
    "near": "A first example and those that are nearly the same: {threshold}.",
    "cluster": "Examples that lie together by their {reads}; those with most suspects come first.",
}


def draw_groups(project: Project, run: Run, view: QueueView) -> None:
    """Draw the kinds of groups and those of the chosen kind; read when they are opened."""
    pairs = [pair for pair in read_pairs(project, run, view) if pair.left]
    counts = read_group_counts(run.config)
    split = view.filter.split
    titles = {
        kind: _CLUSTERS if kind == "cluster" else name_group_kind(project, kind)
        for kind in GROUP_KINDS
        if kind in counts and counts[kind].examples[split]
    }
    # The same content under two labels tells most.
    modes = {kind: title for kind, title in titles.items() if kind == GROUP_KINDS[0]}
    if pairs:
        whose = "suggested" if suggests_labels(run) else "network’s"
        modes[_PAIRS] = f"Given and {whose} label ({len(pairs):,})"
    modes |= titles
    box = st.expander(
        "Groups", expanded="groups" in st.query_params, key=_name_box(), on_change="rerun"
    )
    if not box.open:
        return
    with box:
        kind = ""
        if modes:
            first = next(iter(modes))
            kind = choose_mode(
                "Groups by", modes, name="groups", default=first, key=f"groups-by-{split}"
            )
        if kind == _PAIRS:
            draw_pairs(project, run, pairs)
        elif kind:
            _draw_alike(project, run, split, kind)
        if not counts:
            st.caption(f"This run has no groups of examples that are alike. {NO_GROUPS}")
        elif notes := _list_notes(run):
            st.caption(escape_markdown(" ".join(notes)))


def _name_box() -> str:
    return f"groups-box-{st.session_state.get(_OPENED, 0)}"


def draw_end(project: Project, run: Run, view: QueueView, *, total: int) -> None:
    """Draw what is next where nothing of a filter is left.

    Args:
        project: The project.
        run: Its run.
        view: Order and filter.
        total: Examples of the filter, decided or not.
    """
    if not total or view.filter.status != "pending":
        st.info("No example matches. Remove a filter to see the others.")
        return
    st.success(f"Done: nothing is left to review of {counted(total, 'example')} here.")
    with st.container(horizontal=True, gap="small"):
        _draw_next(project, run, view)
        st.button("All that are left", key="show-all", on_click=show_all)
        st.button("The decided ones", key="show-decided", on_click=show_decided)
        if st.button("Overview", key="to-overview"):
            open_page("overview")


def _draw_next(project: Project, run: Run, view: QueueView) -> None:
    """Draw the group that comes next: of the kind that was filtered by, else of labels."""
    if view.filter.group is not None:
        kind, split = view.filter.group.kind, view.filter.split
        left = [one for one in _read_groups(run, split, kind) if one.left]
        if left:
            title = f"{name_group_kind(project, kind)}, no. {left[0].name.number}"
            words = f"Next: {title}, {left[0].left:,} left"
            if st.button(escape_markdown(words), key="next-group", type="primary"):
                _open_group(left[0], split)
            return
    pairs: list[LabelPair] = [one for one in read_pairs(project, run, view) if one.left]
    if pairs:
        draw_pair(project, run, pairs[0], key="next")


def _draw_alike(project: Project, run: Run, split: Split, kind: str) -> None:
    groups = _read_groups(run, split, kind)
    left = sum(bool(one.left) for one in groups)
    how = _recall(run)
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        words = _HELP[kind].format(**how)
        st.caption(escape_markdown(f"{left:,} of {counted(len(groups), 'group')} left. {words}"))
        pages = max(1, math.ceil(len(groups) / _A_PAGE))
        page = st.pagination(pages, key=f"groups-page-{kind}-{split}") if pages > 1 else 1
    shown = groups[(page - 1) * _A_PAGE : page * _A_PAGE]
    with reading(get_engine()) as connection:
        views = load_views(connection, [one.example_id for one in shown], run.id)
    event = show_cards(
        [_describe(project, one, views[one.example_id]) for one in shown],
        key=f"groups-{kind}-{split}-{page}",
        label="Groups",
    )
    opened = next((one for one in shown if one.name.number == event.opened), None)
    if opened is not None:
        _open_group(opened, split)


def _open_group(group: ExampleGroup, split: Split) -> None:
    """Leave for the queue of a group, without other filters."""
    forget_filters()
    # Its suspects are what is to be seen now: another box is closed.
    st.session_state[_OPENED] = st.session_state.get(_OPENED, 0) + 1
    of_test = {"split": split} if split == "test" else {}
    open_page("queue", group=str(group.name), **of_test)


def _describe(project: Project, group: ExampleGroup, view: ExampleView) -> Card:
    """Return a group as a card with one of its examples."""
    labels = _list_labels(project, group)
    suspects = "" if is_regression(project) else f" · {counted(group.doubted, 'suspect')}"
    others = "" if not group.others else f" · {group.others:,} more in the other split"
    return Card(
        id=group.name.number,
        label=f"Group {group.name.number}: {', '.join(tag.text for tag in labels)}. "
        f"{describe_content(view.text, view.fields)}",
        image=thumbnail_address(view.id, view.key, view.media_path),
        alt="One example of the group",
        heading=f"No. {group.name.number}",
        text=card_text(view.text, view.fields),
        fields=card_fields(row_of(view.text, view.fields)),
        tags=tuple(labels),
        meta=f"{group.left:,} of {group.total:,} left{suspects}{others}",
    )


def _list_labels(project: Project, group: ExampleGroup) -> list[Tag]:
    """Return which labels a group has, or between which numbers it lies."""
    tone = "differs" if group.differs else "agrees"
    if group.name.kind == "cluster":
        tone = "plain"
    if is_regression(project):
        least, greatest = (name_label(project, None, one) for one in (group.least, group.greatest))
        words = f"{least} to {greatest}" if group.differs else least
        return [Tag(text=words, tone=tone)]  # type: ignore[arg-type]  # one of the tones
    named = [
        Tag(text=f"{shorten(name_label(project, label, None), 30)}: {count:,}", tone=tone)  # type: ignore[arg-type]
        for label, count in group.labels[:_LABELS_NAMED]
    ]
    more = len(group.labels) - _LABELS_NAMED
    return [*named, Tag(text=f"{counted(more, 'more label')}")] if more > 0 else named


def _read_groups(run: Run, split: Split, kind: str) -> list[ExampleGroup]:
    known = _list_groups(get_workspace().database_url, run.id, run.scoring_id, split, kind)
    return order_groups(get_engine(), run, split, kind, known)


@st.cache_data(show_spinner=False, max_entries=32)
def _list_groups(
    database: str, run_id: int, scoring_id: int, split: Split, kind: str
) -> Sequence[ExampleGroup]:
    # All examples are read for it, and decisions do not change it.
    engine = get_engine()
    return list_groups(engine, get_run(engine, run_id), split, kind)


def _recall(run: Run) -> dict[str, str]:
    said = run.config.get("alike")
    said = said if isinstance(said, dict) else {}
    return {name: str(said.get(name) or "contents") for name in ("reads", "threshold")}


def _list_notes(run: Run) -> list[str]:
    said = run.config.get("alike")
    notes = said.get("notes") if isinstance(said, dict) else None
    return [str(one) for one in notes] if isinstance(notes, list | tuple) else []
