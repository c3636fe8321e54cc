"""Photographs, texts and rows in which everything that can be named is named by a stranger.

They go the way of real data: files that are imported, and networks that are trained on them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.houses import run_command

# Whatever of it is run says so.
HIT = "window.__hit=1"
OUTSIDE = "http://stranger.example/x.png"
MARKUP = (
    f"<script>{HIT}</script>",
    f'"><img src=x onerror="{HIT}">',
    f"</style></title><svg/onload={HIT}>",
    f"![a]({OUTSIDE}) [b](javascript:{HIT}) :material/home: :red[x] **bold**",
    f"$\\href{{javascript:{HIT}}}{{x}}$ `code` {OUTSIDE}",
    f'<a href="javascript:{HIT}">x</a> <b>%{{x}}</b> {{{{7*7}}}} ${{7*7}} %s',
)
FORMULAS = ('=HYPERLINK("http://stranger.example","x")', "+1+1|cmd", "-2+3", "@SUM(1)", "\t=1+1")
ESCAPES = ("../../etc/passwd", "C:\\Windows\\x", "..", "con", "NUL.txt")
ODD = (
    "שלום \u202etxt.exe\u202c عالم",
    "zero\u200bwidth\u200d\ufeff\u2066",
    "\x07bell\x1b[31m \x85\u2028end",
    "é\u0301" * 30 + "👩\u200d👩\u200d👧",
    "W" * 3000,
    "word " * 400,
)
ALL = (*MARKUP, *FORMULAS, *ESCAPES, *ODD)
# Not only what is shown, but also what a file of an export is called by its kind.
FILE = f"t\"'><img src=x onerror={HIT}>"
# Signs that markdown writes otherwise, beside its markup.
TITLE = f"{MARKUP[0]} {MARKUP[3]} -> :dog: a -- b"
NUMBER_COLUMN, NOTE_COLUMN = f"<img src=x onerror={HIT}>", "=note"
SLUGS = ("photographs", "texts", "rows")
REVIEWER = f"=1+1 עדה {MARKUP[1]}"
_CLASSES = (MARKUP[1], FORMULAS[0], "L" * 180)
_EACH = 8


def build_hostile_projects(root: Path) -> Path:
    """Make a workspace of three projects, and return its folder; the data lies beside it."""
    source = root / "data"
    source.mkdir(parents=True)
    workspace = root / "workspace"
    written = (_write_photographs(source), _write_texts(source), _write_rows(source))
    for slug, words in zip(SLUGS, written, strict=True):
        named = ("--title", f"{slug} {TITLE}", "--description", " ".join(MARKUP))
        run_command(workspace, "import", slug, *words, *named, "--yes")
        run_command(workspace, "train", slug, "--epochs", "2", "--folds", "0", "--features", "none")
    return workspace


def _write_texts(folder: Path) -> list[object]:
    """Write texts as JSON Lines, some of which cannot be stored."""
    texts = [*ALL, "NUL \x00", "half of a letter \ud83d"]
    rows = [
        {"text": text, "label": _CLASSES[place % 3], NOTE_COLUMN: text}
        for place, text in enumerate(texts)
    ]
    path = folder / f"{FILE}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [path, "--text", "text", "--label", "label", "--test-share", "0.3"]


def _write_rows(folder: Path) -> list[object]:
    draw = np.random.default_rng(0)
    count = 3 * _EACH
    rows = pd.DataFrame(
        {
            NUMBER_COLUMN: draw.normal(size=count),
            NOTE_COLUMN: [ALL[place % len(ALL)] for place in range(count)],
            f"column {ODD[0]}": draw.normal(size=count),
            "label": [_CLASSES[place % 3] for place in range(count)],
        }
    )
    path = folder / f"{FILE}.csv"
    rows.to_csv(path, index=False)
    return [path, "--label", "label", "--test-share", "0.3"]


def _write_photographs(folder: Path) -> list[object]:
    root = folder / "photographs"
    for label in (MARKUP[1].replace("/", "_"), FORMULAS[1], "L" * 180):
        (root / label).mkdir(parents=True)
    folders = sorted(root.iterdir())
    for place in range(3 * _EACH):
        odd = ALL[place % len(ALL)].replace("/", "_").replace("\x00", "")
        name = odd.encode()[:120].decode(errors="ignore") + f"{place}.png"
        (folders[place % 3] / name).write_bytes(_picture(place))
    return [root, "--test-share", "0.3"]


def _picture(place: int) -> bytes:
    """Return a PNG: one of a single point, one much larger than any screen, the others small."""
    buffer = io.BytesIO()
    if place == 0:
        Image.new("RGB", (1, 1), "red").save(buffer, "PNG")
    elif place == 1:
        Image.new("1", (3000, 3000)).save(buffer, "PNG")
    else:
        shade = np.random.default_rng(place).integers(0, 256, (12, 8 + place, 3), dtype=np.uint8)
        Image.fromarray(shade).save(buffer, "PNG")
    return buffer.getvalue()
