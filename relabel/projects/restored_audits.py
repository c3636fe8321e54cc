"""What the rows of an audit must be that a backup brings: they are not believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relabel.db.team.audits import DESIGNS, Frame
from tracin_core.errors import InputError

RestoredRow = Mapping[str, Any]


def check_audit(row: RestoredRow, num_classes: int) -> None:
    """Check that what an audit was drawn from can be read.

    Raises:
        InputError: If not.
    """
    try:
        frame = Frame.from_json(row["frame"])
        int(row["seed"], 16)
    except (LookupError, TypeError, ValueError) as error:
        raise _odd("audit", f"a draw that cannot be read ({error!s:.80})") from error
    if len(frame.strata) > num_classes or row["design"] not in DESIGNS:
        raise _odd("audit", "a draw of another project's classes")


def check_audit_item(row: RestoredRow) -> None:
    """Check that a draw's chances are some.

    Raises:
        InputError: If not.
    """
    if not (row["place"] > 0 and 0 < row["probability"] <= 1 and 0 <= row["guess"] <= 1):
        raise _odd("audit_item", f"the draw {row['place']}, whose chances are none")


def _odd(table: str, found: str) -> InputError:
    return InputError(
        f"The backup's table {table} holds {found}. Expected rows as this program writes them. Use "
        "another backup; nothing was restored."
    )
