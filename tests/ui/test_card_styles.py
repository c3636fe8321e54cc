"""The pictures on cards stand alone, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import ui.components


def test_a_picture_has_no_bars_beside_it():
    styles = (Path(ui.components.__file__).parent / "cards.css").read_text()
    rules = re.findall(r"^(\.[^{]*\bimg) \{(.*?)\}", styles, re.MULTILINE | re.DOTALL)
    fitted = {name: body for name, body in rules if "object-fit: contain" in body}
    assert len(fitted) == 2
    assert not [name for name, body in fitted.items() if "background" in body]
