"""The report as one HTML page that needs nothing but itself.

Everything from data goes through the template's escaping; figures are SVG that was escaped in the
same way. The page's own policy allows its one style and pictures inside of it, and nothing else:
no script, no request.
"""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from relabel.worth.gain.figures import ARMS
from relabel.worth.gain.words import format_level, name_measure
from relabel.worth.report.collect import ReportFacts
from relabel.worth.report.drawing import make_svg
from relabel.worth.report.figures import ARM_NAMES, draw_all
from relabel.worth.report.telling import TellingCorrection
from relabel.worth.report.words import (
    describe_correction,
    describe_found,
    describe_how,
    describe_left,
    describe_reviewed,
    describe_worth,
    format_day,
    list_limits,
    summarise,
)

# Rows of the table of classes; the others have the fewest errors.
MOST_CLASSES = 30
# Trainings that the table lists one by one.
MOST_TRAININGS = 7


def make_page(facts: ReportFacts) -> str:
    """Return the report as HTML."""
    style = _read("page.css")
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    # Escaped by its own template already.
    figures = {one.name: Markup(make_svg(one)) for one in draw_all(facts)}  # noqa: S704
    return _load_template().render(
        title=facts.project.title,
        description=facts.project.description,
        made_at=format_day(facts.made_at),
        # A file of ours, without data.
        style=Markup(style),  # noqa: S704
        style_hash=digest,
        figures=figures,
        summary=summarise(facts),
        reviewed=describe_reviewed(facts),
        reviewers=[_lay_reviewer(one) for one in facts.reviewers if one.decided],
        found=describe_found(facts),
        **_lay_classes(facts),
        left=describe_left(facts),
        gain=describe_worth(facts),
        **_lay_gain(facts),
        telling=[_lay_correction(facts, one) for one in facts.telling],
        telling_note=_explain_telling(facts),
        how=describe_how(facts),
        limits=list_limits(facts),
    )


@cache
def _load_template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_read("page.html.j2"))


def _read(name: str) -> str:
    return (files("relabel.worth.report") / name).read_text("utf-8")


def _lay_reviewer(one: Any) -> dict[str, str]:
    pace = one.per_hour
    return {
        "name": one.name,
        "decided": f"{one.decided:,}",
        "corrected": f"{one.corrected:,}",
        "excluded": f"{one.excluded:,}",
        "pace": "–" if pace is None else f"{pace:,.0f}",
    }


def _lay_classes(facts: ReportFacts) -> dict[str, Any]:
    having = [one for one in facts.classes if one.total]
    listed = sorted(having, key=lambda one: -one.found)[:MOST_CLASSES]
    if len(having) <= MOST_CLASSES:
        listed = having
    rows = [
        {
            "name": one.name,
            "total": f"{one.total:,}",
            "decided": f"{one.decided:,}",
            "corrected": f"{one.corrected:,}",
            "excluded": f"{one.excluded:,}",
        }
        for one in listed
    ]
    return {
        "classes": rows if facts.progress.reviewed else [],
        "classes_cut": len(having) if len(having) > MOST_CLASSES else 0,
    }


def _lay_gain(facts: ReportFacts) -> dict[str, Any]:
    gain = facts.gain
    if gain is None:
        return {"gain_rows": [], "gain_seeds": [], "gain_caption": ""}
    judged, seeds = gain.main, gain.seeds[:MOST_TRAININGS]
    measure = name_measure(gain)
    caption = f"{measure[0].upper()}{measure[1:]} by training"
    if len(seeds) < len(gain.seeds):
        caption += f"; the first {len(seeds)} of {len(gain.seeds)}, and the mean of all"
    rows = [
        (
            ARM_NAMES[arm],
            [format_level(gain, value) for value in judged.arms[arm][: len(seeds)]],
            format_level(gain, judged.mean(arm)),
        )
        for arm in sorted(ARMS, key=list(ARM_NAMES).index)
    ]
    return {"gain_rows": rows, "gain_seeds": seeds, "gain_caption": caption}


def _lay_correction(facts: ReportFacts, one: TellingCorrection) -> dict[str, Any]:
    what = "value" if facts.is_regression else "label"
    return {
        "given": one.given,
        "corrected": one.corrected,
        "content": one.content,
        "note": one.note,
        "sentences": describe_correction(facts, one),
        "sides": [
            (f"Spoke against the given {what} (opponents)", one.opponents),
            ("Spoke for it (proponents)", one.proponents),
        ],
    }


def _explain_telling(facts: ReportFacts) -> str:
    if facts.telling_fault:
        return f"They come without the examples that spoke for and against: {facts.telling_fault}"
    if facts.telling and facts.run is None:
        return "They come without the examples that spoke for and against: no run has scored them."
    return ""
