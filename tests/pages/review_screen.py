"""The review as its screen in the browser uses it: what it is given, and what it asks and sends.

Streamlit's harness runs no script of a browser. The page's part is what the component is given;
what the component then asks is answered by the same functions that answer it over HTTP.
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from streamlit.testing.v1 import AppTest

from ui.review.answers import answer_decisions, answer_suspects

_NUMBERS = count(1)


def find_given(app: AppTest, component: str = "tracin_review") -> dict[str, Any]:
    """Return what a page gives to a component."""
    (found,) = [
        one.proto
        for one in app.get("bidi_component")
        if one.proto.component_name.endswith(component)
    ]
    given: dict[str, Any] = json.loads(found.json or found.mixed.json)
    return given


class ReviewScreen:
    """A person's screen: it shows a suspect, and a press is about that one.

    Attributes:
        app: The page around it.
        given: What the page gave to the component.
        sheet: What is shown of the suspect; None where there is none.
        outcome: What became of the last press.
    """

    def __init__(self, app: AppTest) -> None:
        self.app = app
        self.given = find_given(app)
        self.outcome: dict[str, Any] = {}
        self._take(self.given["first"])

    def _take(self, answer: dict[str, Any]) -> None:
        self.sheet, *ahead = answer["suspects"] or [None]
        self.seen = {str(one["id"]): one["version"] for one in ahead}
        self.undoable = answer["undoable"]
        self.reviewed, self.total = answer["reviewed"], answer["total"]

    @property
    def choices(self) -> dict[str, dict[str, Any]]:
        """What can be decided about the suspect, by name."""
        return {one["name"]: one for one in [*self.sheet["verdicts"], *self.sheet["classes"]]}

    def press(self, name: str, *, note: str = "") -> dict[str, Any]:
        """Press a button of the suspect that is shown."""
        choice = self.choices[name]
        kept = {key: choice[key] for key in ("action", "newLabel", "newValue")}
        return self.send(**kept, note=note)

    def search(self, label: int) -> dict[str, Any]:
        """Take a class that was searched for."""
        return self.send(action="relabel", newLabel=label)

    def type_number(self, typed: str) -> dict[str, Any]:
        """Type another number."""
        return self.send(action="relabel", typed=typed)

    def send(self, **press: Any) -> dict[str, Any]:
        """Send a press about the suspect that is shown, and show the next one."""
        sheet = self.sheet
        about = {name: sheet[name] for name in ("version", "mark", "rank", "score", "run", "look")}
        return self._post({**about, "example": sheet["id"], "seconds": 1.5, **press})

    def undo(self, decision_id: int | None = None) -> dict[str, Any]:
        """Take back the decision that is offered, or one that was offered before."""
        undone = decision_id or self.undoable
        return self._post({"action": "undo", "decision": undone, "mark": self.given["mark"]})

    def _post(self, press: dict[str, Any]) -> dict[str, Any]:
        asks = {name: self.given[name] for name in ("project", "query", "reviewer", "screen")}
        token = f"press-of-the-test-{next(_NUMBERS):06}"
        press = {"token": token, "reviewer": self.given["reviewer"], **press}
        answer = answer_decisions(_as_sent({**asks, "presses": [press], "seen": self.seen}))
        (self.outcome,) = answer["outcomes"]
        self._take(answer_suspects(_as_sent({**asks, "count": 2})))
        if self.outcome["sheet"] is not None:
            self.sheet = self.outcome["sheet"]
        json.dumps(answer, allow_nan=False)
        return self.outcome

    def words(self) -> str:
        """Return all that stands on the screen, as a person reads it."""
        parts = [f"{key} {meaning}" for key, meaning in self.given["keys"]]
        lines = [f"Keys: {', '.join(parts)}", f"{self.reviewed:,} of {self.total:,} reviewed"]
        if (sheet := self.sheet) is not None:
            lines += [sheet["place"], sheet["source"], sheet["marking"], sheet["fault"]]
            lines += [one["text"] for one in sheet["badges"]]
            lines.append("".join(f"**{text}**" if bold else text for text, bold in sheet["said"]))
            lines += [*sheet["lines"], *sheet["troubles"]]
            lines += [part for side in sheet["sides"] for part in (side["name"], side["caption"])]
        app = self.app
        drawn = (app.markdown, app.caption, app.error, app.warning, app.info, app.header)
        lines += [str(item.value).replace("\\", "") for part in drawn for item in part]
        return "\n".join(lines)


def _as_sent(body: dict[str, Any]) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(json.dumps(body))
    return sent
