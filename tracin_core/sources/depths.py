"""How deep the grey of a data set's pictures is: 10 or 12 bits in files of 16 would be dark."""

from __future__ import annotations

from tracin_core.examples.images import Depth
from tracin_core.numerals import counted

# Bits of the cameras and scanners that people have; the fewest that hold all values are taken.
_BITS = (8, 10, 12, 14, 16, 20, 24, 31)
FULL = 2**16 - 1  # white in a file of 16 bits
_NEARLY_BLACK = 64  # of 255


class Depths:
    """What is met of deep pictures in one reading of a data set.

    Attributes:
        low, high: Samples of all deep grey pictures.
        num_deep: Of them.
        num_frames: Pictures with several frames or pages.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew, for another reading of the data."""
        self.low = self.high = 0
        self.num_deep = self.num_frames = self.num_colour = self._brightest = 0

    def add(self, depth: Depth) -> None:
        """Take one picture into account."""
        self.num_frames += depth.has_frames
        if depth.brightest is not None:
            self.num_colour += 1
            self._brightest = max(self._brightest, depth.brightest)
        if depth.high is not None:
            self.num_deep += 1
            self.low = min(self.low, depth.low or 0)
            self.high = max(self.high, depth.high)

    @property
    def range(self) -> tuple[int, int] | None:
        """Return the samples that are black and white; None where 0 and 65,535 are."""
        if not self.num_deep or self.high <= 0:
            return None
        white = self.high if self.low < 0 else find_white(self.high)
        return None if (self.low, white) == (0, FULL) else (self.low, white)

    def describe(self) -> list[str]:
        """Say how deep pictures are read, and what is lost."""
        notes = []
        if self.range is not None:
            low, white = self.range
            notes.append(
                f"{counted(self.num_deep, 'deep grey picture')} hold values from {self.low:,} to "
                f"{self.high:,}: {low:,} is taken as black and {white:,} as white, and they are "
                "stored as PNG of 16 bits with that range."
            )
        if self.num_colour and self._brightest < _NEARLY_BLACK:
            notes.append(
                f"{counted(self.num_colour, 'picture')} with 16 bits a colour are nearly black: "
                f"the brightest value is {self._brightest} of 255, because only the upper 8 bits "
                "are read. If they hold 10 or 12 bits, save them with 8 bits a colour first."
            )
        if self.num_frames:
            notes.append(
                f"Of {counted(self.num_frames, 'picture')} with several frames or pages the first "
                "is used. Save the others as files of their own if they are examples."
            )
        return notes


def find_white(high: int) -> int:
    """Return the largest value of the fewest bits that hold a sample."""
    return next((2**bits - 1 for bits in _BITS if high < 2**bits), high)
