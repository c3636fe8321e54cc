"""One example, large: its picture, its whole text letter by letter, or its row."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ui.components.assets import read_assets
from ui.components.cards import Piece

_EXAMPLE = st.components.v2.component(
    "tracin_example",
    html='<div class="example"></div>',
    css=read_assets("example.css"),
    js=read_assets("example_nodes.js", "example.js"),
)


def show_example(
    example_id: int,
    version: int,
    *,
    image: str | None,
    text: str | None,
    alt: str,
    key: str,
    fields: Sequence[tuple[str, str]] = (),
    pieces: Sequence[Piece] = (),
) -> None:
    """Draw one example.

    Args:
        example_id: Its number, kept beside the picture: a key decides about what is shown.
        version: Its version, for the same reason.
        image: Address of its picture, or None.
        text: Its whole text, or None.
        alt: What the picture shows, in words.
        key: Widget key.
        fields: Names and values of its row's columns.
        pieces: The text in pieces, some of them marked; empty for an unmarked one.
    """
    _EXAMPLE(
        key=key,
        data={
            "id": example_id,
            "version": version,
            "image": image,
            "text": text,
            "alt": alt,
            "fields": [list(field) for field in fields],
            "pieces": [list(piece) for piece in pieces],
            "fingerprint": f"{example_id}:{version}:{image}:{hash(tuple(pieces))}",
        },
    )
