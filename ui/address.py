"""Choices that live in the page's address under stable names.

Streamlit's own `bind="query-params"` writes what the screen shows, so a choice with a readable
label would stand in the address as that label, and break shared links when its wording changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from ui.wording import segment_words


def read_choice(name: str, options: Mapping[str, str], default: str) -> str:
    """Return the option the address names, or the default if it names none of them."""
    wanted = st.query_params.get(name, default)
    return wanted if wanted in options else default


def write_choice(name: str, value: str, default: str | None = None) -> None:
    """Write the choice into the address; the default is left out to keep addresses short."""
    if value == default:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != value:
        st.query_params[name] = value


def select_in_address(
    label: str,
    options: Mapping[str, str],
    *,
    name: str,
    default: str,
    width: int,
    on_change: Callable[[], None] | None = None,
    help: str | None = None,
) -> str:
    """Draw a select box whose value stands in the address.

    Args:
        label: Label of the box.
        options: Stable name of each option to what the screen says.
        name: Name of the parameter, and key of the widget.
        default: The option that the address leaves out.
        width: In CSS pixels.
        on_change: Called when a person chooses.
        help: What is said beside the label.

    Returns:
        The stable name of the chosen option.
    """
    if st.session_state.get(name) not in options:
        st.session_state[name] = read_choice(name, options, default)
    chosen = st.selectbox(
        label,
        list(options),
        format_func=lambda one: options[one],
        key=name,
        width=width,
        on_change=on_change,
        help=help,
    )
    write_choice(name, chosen or default, default)
    return chosen or default


def choose_mode(label: str, modes: Mapping[str, str], *, name: str, default: str, key: str) -> str:
    """Draw what a page can do as one row of choices; the address holds the one that is made.

    Args:
        label: For screen readers.
        modes: Stable name of each to what the screen says.
        name: Name of the parameter.
        default: The one that the address leaves out.
        key: Widget key; another one starts from the address again.

    Returns:
        The stable name of the chosen one.
    """
    if key not in st.session_state:
        st.session_state[key] = read_choice(name, modes, default)
    mode = st.segmented_control(
        label,
        list(modes),
        format_func=lambda one: segment_words(modes[one]),
        required=True,
        key=key,
        label_visibility="collapsed",
    )
    write_choice(name, mode or default, default)
    return mode or default
