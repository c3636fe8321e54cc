"""How deep the grey of a data set's pictures is: 10 or 12 bits in files of 16 would be dark."""

from __future__ import annotations

from tracin_core.examples.images import DeepRange, Depth
from tracin_core.numerals import counted

# Bits of the cameras and scanners that people have; the fewest that hold all values are taken.
_BITS = (8, 10, 12, 14, 16, 20, 24, 31)
FULL = 2**16 - 1  # white in a file of 16 bits
_NEARLY_BLACK = 64  # of 255


class Depths:
    """What is met of deep pictures in one reading of a data set."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew, for another reading of the data."""
        self._whole: list[tuple[float, float]] = []
        self._real: list[tuple[float, float]] = []
        self._num = {"whole": 0, "real": 0, "colour": 0, "frames": 0, "empty": 0}
        self._brightest = 0

    def add(self, depth: Depth) -> None:
        """Take one picture into account."""
        self._num["frames"] += depth.has_frames
        self._num["empty"] += depth.is_empty
        if depth.brightest is not None:
            self._num["colour"] += 1
            self._brightest = max(self._brightest, depth.brightest)
        if depth.low is not None and depth.high is not None:
            self._num["real" if depth.is_real else "whole"] += 1
            met = self._real if depth.is_real else self._whole
            met[:] = [(min(low for low, _ in (*met, (depth.low, 0))),
                       max(high for _, high in (*met, (0, depth.high))))]  # fmt: skip

    @property
    def range(self) -> DeepRange:
        """Return the samples that are black and white."""
        whole = real = None
        for low, high in self._whole:
            white = high if low < 0 else find_white(int(high))
            whole = (low, white) if high > 0 and (low, white) != (0, FULL) else None
        for low, high in self._real:
            # Fractions and bytes have an agreed white; of others the range is stretched.
            white = next((w for w in (1.0, 255.0) if low >= 0 and high <= w), high)
            real = (low, white) if white > low else None
        return DeepRange(whole, real)

    def describe(self) -> list[str]:
        """Say how deep pictures are read, and what is lost."""
        notes = []
        for kind, words in (("whole", "deep grey picture"), ("real", "picture of fractions")):
            chosen = getattr(self.range, kind)
            if chosen is not None:
                ((low, high),) = getattr(self, f"_{kind}")
                number = counted(self._num[kind], words, words.replace("picture", "pictures"))
                notes.append(
                    f"{number} {'hold' if self._num[kind] > 1 else 'holds'} values from "
                    f"{_show(low)} to {_show(high)}: {_show(chosen[0])} is taken as black and "
                    f"{_show(chosen[1])} as white, and they are stored as PNG of 16 bits."
                )
        if self._num["colour"] and self._brightest < _NEARLY_BLACK:
            notes.append(
                f"{counted(self._num['colour'], 'picture')} with 16 bits a colour are nearly "
                f"black: the brightest value is {self._brightest} of 255, because only the upper 8 "
                "bits are read. If they hold 10 or 12 bits, save them with 8 bits a colour first."
            )
        if self._num["empty"]:
            notes.append(
                f"All of {counted(self._num['empty'], 'picture')} is transparent, and white is "
                "seen instead. If there is a picture under it, save it without transparency."
            )
        if self._num["frames"]:
            notes.append(
                f"Of {counted(self._num['frames'], 'picture')} with several frames or pages the "
                "first is used. Save the others as files of their own if they are examples."
            )
        return notes


def find_white(high: int) -> int:
    """Return the largest value of the fewest bits that hold a sample."""
    return next((2**bits - 1 for bits in _BITS if high < 2**bits), high)


def _show(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"
