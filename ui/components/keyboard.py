"""Keys that act on the example on the screen, and on no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import streamlit as st

from ui.components.assets import read_asset

_KEYS = st.components.v2.component(
    "tracin_keys",
    html='<span class="keys" role="status"></span>',
    css=read_asset("keys.css"),
    js=read_asset("keys.js"),
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A text field that a key moves the cursor into; Enter and Escape leave it.

    Attributes:
        label: Its label on the screen.
        key: The key, in lower case.
        begun_by: Characters that move there too, and are typed over what it holds.
    """

    label: str
    key: str
    begun_by: str = ""


@dataclass(frozen=True)
class Press:
    """A key, and the example that was on the screen when it went down.

    Attributes:
        key: In lower case.
        example_id: None where nothing was shown.
        version: The version of the example that was shown.
    """

    key: str
    example_id: int | None
    version: int | None


def watch_keys(
    keys: Iterable[str],
    on_press: Callable[[Press], None],
    *,
    key: str,
    watched: str,
    always_on: Iterable[str] = (),
    fields: Iterable[Field],
) -> None:
    """Listen for keys while nothing is being typed.

    Enter and Escape end what is typed into any field of the page, and a box whose choice is made
    gives the focus back, so that the keys act again. A key that comes too early is told.

    Args:
        keys: The keys that are handed on, in lower case.
        on_press: Called before the next run of the page or fragment.
        key: Widget key.
        watched: Widget key of the component that shows the example.
        always_on: Those of the keys that work while no example is shown.
        fields: Text fields that have a key.
    """

    def report() -> None:
        press = _read_press(getattr(st.session_state.get(key), "pressed", None))
        if press is not None:
            on_press(press)

    _KEYS(
        key=key,
        data={
            "keys": list(keys),
            "alwaysOn": list(always_on),
            "watched": watched,
            "fields": [
                {"label": field.label, "key": field.key, "begunBy": field.begun_by}
                for field in fields
            ],
        },
        on_pressed_change=report,
    )


def _read_press(sent: object) -> Press | None:
    # What a browser sends is untrusted: anything but the expected shape is no press.
    if not isinstance(sent, dict) or not isinstance(sent.get("key"), str):
        return None
    shown, version = sent.get("id"), sent.get("version")
    if not isinstance(shown, int) or not isinstance(version, int):
        shown = version = None
    return Press(sent["key"], shown, version)
