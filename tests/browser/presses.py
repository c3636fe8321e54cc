"""Records which example was on the screen at the very moment of each key press."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import Page

# The big example lives in the shadow root of a component inside the container of this key.
_SHOWN = """
() => {
  for (const host of document.querySelectorAll('[class*="st-key-suspect"] *')) {
    const found = host.shadowRoot && host.shadowRoot.querySelector('[data-example-id]')
    if (!found) continue
    const image = found.querySelector('img')
    return image && !image.complete ? null : Number(found.dataset.exampleId)
  }
  return null
}
"""

# A press in the frame before it is painted is none: nobody has seen it yet.
_PAINTED = """
() => [...document.querySelectorAll('[class*="st-key-suspect"] *')].some(
  host => host.shadowRoot && host.shadowRoot.querySelector('[data-example-id][data-painted]')
)
"""

# A key that goes down before is lost, as it is for a person.
_LISTENS = "document.documentElement.dataset.keys === 'listening'"

_RECORD = f"""
() => {{
  window.presses = []
  const shown = {_SHOWN}
  window.addEventListener("keydown", event => {{
    window.presses.push({{ key: event.key, shown: shown() }})
  }}, true)
}}
"""


@dataclass(frozen=True)
class Press:
    """A key and the example that a person saw when it went down."""

    key: str
    shown: int | None


def record_presses(page: Page) -> None:
    page.evaluate(_RECORD)


def read_presses(page: Page) -> list[Press]:
    return [Press(item["key"], item["shown"]) for item in page.evaluate("window.presses")]


def wait_for_example(page: Page, *, other_than: int | None = None) -> int:
    """Wait until an example (another one) is on the screen, and keys act; return its number."""
    page.wait_for_function(_LISTENS)
    page.wait_for_function(
        f"other => {{ const shown = ({_SHOWN})(); "
        f"return shown !== null && shown !== other && ({_PAINTED})() }}",
        arg=other_than,
    )
    shown = shown_example(page)
    assert shown is not None
    return shown


def shown_example(page: Page) -> int | None:
    shown: int | None = page.evaluate(_SHOWN)
    return shown


def wait_until_shown(page: Page, example_id: int) -> None:
    """Wait until this very example is on the screen, for at most 20 seconds."""
    for _ in range(400):
        if shown_example(page) == example_id:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"example {example_id} did not come back on the screen")


def wait_until_answered(page: Page) -> None:
    """Wait until the server has said what became of every press."""
    page.wait_for_function("sessionStorage.getItem('tracin-outbox') === null")
