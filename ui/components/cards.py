"""A gallery of examples: one browser component, because fifty Streamlit images take seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import streamlit as st

from ui.components.assets import read_assets

Layout = Literal["grid", "compact", "list"]
# A part of a text, and how strongly it is marked: 0 not at all, 1 or 2.
Piece = tuple[str, int]
Tone = Literal["plain", "given", "differs", "agrees", "decided"]

_CARDS = st.components.v2.component(
    "tracin_cards",
    html='<ul class="cards"></ul>',
    css=read_assets("cards.css"),
    js=read_assets("card_nodes.js", "cards.js"),
)


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A short word on a card; the tone adds a colour and never carries meaning alone."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class CardField:
    """One column of a table's row.

    Attributes:
        name: The column.
        value: As text.
        differs: Whether it is to be marked, by a sign as well as by weight.
    """

    name: str
    value: str
    differs: bool = False


@dataclass(frozen=True, kw_only=True)
class CardAction:
    """A second button on a card.

    Attributes:
        label: The word on the button.
        description: What it does and to what, for a screen reader.
        token: What is handed back when it is pressed.
    """

    label: str
    description: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the gallery shows of one example.

    Attributes:
        id: Handed back when the card is opened.
        label: The card in one sentence, for a screen reader.
        image: Address of a picture, or None.
        alt: What the picture shows.
        heading: Line in bold type.
        text: Excerpt of the example's text.
        pieces: The same in pieces, some of them marked; takes the place of the text.
        fields: Columns of the example's row.
        tags: Labels and states.
        meta: A line of figures.
        fraction: A small bar, 0 to 1.
        current: Whether the card is the one now open.
        action: A second button.
    """

    id: int
    label: str
    image: str | None = None
    alt: str = ""
    heading: str | None = None
    text: str | None = None
    pieces: tuple[Piece, ...] = ()
    fields: tuple[CardField, ...] = ()
    tags: tuple[Tag, ...] = ()
    meta: str | None = None
    fraction: float | None = None
    current: bool = False
    action: CardAction | None = None


@dataclass(frozen=True)
class CardsEvent:
    """What a person did with a gallery in this run of the page."""

    opened: int | None
    acted_on: int | None
    token: str | None


def show_cards(
    cards: Sequence[Card],
    *,
    key: str,
    label: str,
    layout: Layout = "grid",
    image_size: int = 96,
) -> CardsEvent:
    """Draw a gallery and say which card was opened, if any.

    Args:
        cards: The cards in order.
        key: Widget key; a new key forgets the last click.
        label: Name of the gallery for a screen reader.
        layout: Cards side by side with the picture above, the same with the picture beside, or
            one a line.
        image_size: Edge of the pictures, in CSS pixels.

    Returns:
        What was clicked since the last run.
    """
    kind = "" if layout == "list" or any(card.image for card in cards) else " texts"
    if kind and any(card.fields for card in cards):
        kind = " rows"
    result = _CARDS(
        key=key,
        data={
            "cards": [asdict(card) for card in cards],
            "layout": f"{layout}{kind}",
            "imageSize": image_size,
            "label": label,
        },
        on_opened_change=_nothing,
        on_acted_change=_nothing,
    )
    return _read_event(result)


def _nothing() -> None:
    """Stand for a callback: its presence makes the trigger an attribute of the result."""


def _read_event(result: Any) -> CardsEvent:
    # What comes from the browser is untrusted: anything but the expected shape counts as no click.
    opened = getattr(result, "opened", None)
    acted = getattr(result, "acted", None)
    acted = acted if isinstance(acted, dict) else {}
    return CardsEvent(
        opened=opened if isinstance(opened, int) else None,
        acted_on=acted.get("id") if isinstance(acted.get("id"), int) else None,
        token=acted.get("token") if isinstance(acted.get("token"), str) else None,
    )
