"""The figures of a report, each for a slide of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from relabel.text import counted
from relabel.worth.gain.figures import ARMS, Interval
from relabel.worth.gain.saved import Gain
from relabel.worth.gain.words import format_difference, format_interval, format_level, name_measure
from relabel.worth.report.collect import ReportFacts
from relabel.worth.report.drawing import FAINT, GRID, HEIGHT, INK, WIDTH, Drawing, Point, fit

# Told apart by people who do not see colours as most do, and dark enough on white.
BLUE, ORANGE, GREEN, GREY = "#1d5fa8", "#b35a00", "#2c7a4b", "#7a828e"
FLOW_COLOURS = (BLUE, ORANGE, GREEN, "#8a4b9c", "#a8324e", "#5d6b1f", "#0f7280", "#6b5346")
MOST_ROWS = 14
LEFT_OUT = "left out"
_TOP, _BOTTOM = 92.0, 500.0
ARM_NAMES = {
    "given": "Labels as given",
    "control": "As many reviews at random",
    "corrected": "Labels as corrected",
}
_ARM_COLOURS = {"given": GREY, "control": ORANGE, "corrected": BLUE}


def draw_all(facts: ReportFacts) -> list[Drawing]:
    """Return the figures that there is something to draw for."""
    return list(_draw(facts))


def _draw(facts: ReportFacts) -> Iterator[Drawing]:
    if facts.found_by_rank:
        yield draw_found(facts)
    if facts.flows or facts.excluded_flows:
        yield draw_flows(facts)
    if facts.noise_classes:
        yield draw_noise(facts)
    if facts.gain is not None:
        yield draw_levels(facts.gain)
        yield draw_differences(facts.gain)
        if facts.gain.main.classes:
            yield draw_class_gains(facts.gain)


def _begin(name: str, title: str, description: str, below: str = "") -> Drawing:
    drawing = Drawing(name, title, description)
    drawing.text(24, 40, fit(title, WIDTH - 48, 26), size=26, bold=True)
    drawing.text(24, 68, fit(below or description, WIDTH - 48, 17), size=17, fill=FAINT)
    return drawing


def draw_found(facts: ReportFacts) -> Drawing:
    """Draw how many errors were found by how many of the queue's examples were reviewed."""
    points = facts.found_by_rank
    last = points[-1]
    told = (
        f"{last.found:,} errors among the {last.reviewed:,} reviewed examples of the first "
        f"{last.rank:,} suspects"
    )
    drawing = _begin("found", "Errors found, from the most suspect on", told)
    left, right, top, bottom = 90.0, WIDTH - 40.0, 110.0, HEIGHT - 64.0
    largest = max(last.found, 1)

    def place(reviewed: float, found: float) -> Point:
        return (
            left + (right - left) * reviewed / max(last.reviewed, 1),
            bottom - (bottom - top) * found / largest,
        )

    for found in _list_ticks(largest):
        y = place(0, found)[1]
        drawing.line([(left, y), (right, y)], GRID, 1)
        drawing.text(left - 10, y + 5, f"{found:,.0f}", size=15, fill=FAINT, anchor="end")
    for reviewed in _list_ticks(last.reviewed):
        x = place(reviewed, 0)[0]
        drawing.text(x, bottom + 24, f"{reviewed:,.0f}", size=15, fill=FAINT, anchor="middle")
    drawing.text((left + right) / 2, HEIGHT - 14, "examples reviewed", size=15, fill=FAINT)
    if facts.audit is not None:
        end = min(facts.audit.rate * last.reviewed, largest)
        stop = end / facts.audit.rate if facts.audit.rate else last.reviewed
        drawing.line([place(0, 0), place(stop, end)], ORANGE, 2.5, dashed=True)
        drawing.text(
            *place(stop, end * 0.9),
            "at random, as the audit says",
            size=15,
            fill=ORANGE,
            anchor="end",
        )
    drawing.line([place(0, 0), *(place(one.reviewed, one.found) for one in points)], BLUE, 3.5)
    return drawing


def _list_ticks(largest: float) -> list[float]:
    """Return round numbers from 0 to the largest."""
    if largest <= 0:
        return [0.0]
    step = 10 ** math.floor(math.log10(largest))
    step = next((step * part for part in (0.2, 0.5, 1) if largest / (step * part) <= 6), step * 2)
    step = max(step, 1)
    return [step * number for number in range(int(largest / step) + 1)]


def _list_between(low: float, high: float) -> list[float]:
    """Return up to seven round numbers from one number to another."""
    width = max(high - low, 1e-9)
    unit = 10 ** math.floor(math.log10(width))
    step = next(unit * part for part in (0.1, 0.2, 0.5, 1, 2) if width / (unit * part) <= 6)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [step * number for number in range(first, last + 1)]


def draw_flows(facts: ReportFacts) -> Drawing:
    """Draw from which given label to which corrected one examples went."""
    flows = [(facts.names[one.given], facts.names[one.other], one.count) for one in facts.flows]
    flows += [(facts.names[label], LEFT_OUT, count) for label, count in facts.excluded_flows]
    flows = sorted(flows, key=lambda one: -one[2])[:MOST_ROWS]
    shown, whole = sum(count for *_, count in flows), facts.corrected + facts.excluded
    most = flows[0]
    told = f"most often {most[0]} became {most[1]}: {most[2]:,} of {counted(whole, 'error')}"
    below = told if shown == whole else f"{told}; the {len(flows)} most frequent changes are drawn"
    drawing = _begin("flows", "From the given label to the corrected one", told, below)
    givens, others = Counter[str](), Counter[str]()
    for given, other, count in flows:
        givens[given] += count
        others[other] += count
    gap = 8.0
    room = _BOTTOM - _TOP - gap * (max(len(givens), len(others)) - 1)
    unit = room / max(shown, 1)
    left, right, thick = 230.0, WIDTH - 230.0, 14.0
    from_y, to_y = _stack(givens, unit, gap), _stack(others, unit, gap)
    colours = {name: FLOW_COLOURS[i % len(FLOW_COLOURS)] for i, name in enumerate(givens)}
    next_from, next_to = dict(from_y), dict(to_y)
    order = {name: i for i, (name, _) in enumerate(others.most_common())}
    for given, other, count in sorted(flows, key=lambda one: (-givens[one[0]], order[one[1]])):
        high = count * unit
        ribbon = _ribbon(left + thick, next_from[given], right, next_to[other], high)
        drawing.area(ribbon, colours[given], 0.35)
        next_from[given] += high
        next_to[other] += high
    for names, tops, x, side in ((givens, from_y, left, "end"), (others, to_y, right, "start")):
        for name, count in names.items():
            colour = colours[name] if side == "end" else INK
            drawing.box(x, tops[name], thick, max(count * unit, 1.5), colour)
            middle = tops[name] + count * unit / 2 + 5
            label = f"{fit(name, 170, 15)} {count:,}"
            at = x - 8 if side == "end" else x + thick + 8
            drawing.text(at, middle, label, size=15, anchor=side)  # type: ignore[arg-type]
    drawing.text(left + thick, HEIGHT - 14, "as given", size=15, fill=FAINT, anchor="end")
    drawing.text(right, HEIGHT - 14, "as corrected", size=15, fill=FAINT)
    return drawing


def _stack(counts: Counter[str], unit: float, gap: float) -> dict[str, float]:
    """Return where each name begins, the most frequent one on top."""
    tops, y = {}, _TOP
    for name, count in counts.most_common():
        tops[name] = y
        y += count * unit + gap
    return tops


def _ribbon(x: float, y: float, to_x: float, to_y: float, high: float) -> list[Point]:
    """Return the corners of a band between two places, which is level at both ends."""
    steps = 24
    upper = []
    for number in range(steps + 1):
        share = number / steps
        smooth = share * share * (3 - 2 * share)
        upper.append((x + (to_x - x) * share, y + (to_y - y) * smooth))
    return [*upper, *((one, each + high) for one, each in reversed(upper))]


def draw_noise(facts: ReportFacts) -> Drawing:
    """Draw the share of wrong labels by class, with the audit's intervals."""
    rows = sorted(facts.noise_classes, key=lambda one: -one.rate)[:MOST_ROWS]
    audit = facts.audit
    whole = "" if audit is None else f"; all together {_share(audit.rate, audit.low, audit.high)}"
    told = f"by a random audit, with 95% intervals{whole}"
    drawing = _begin("noise", "Wrong labels by class", told)
    left, right = 260.0, WIDTH - 130.0
    largest = min(1.0, max(one.high for one in rows) * 1.05)
    step = next(one for one in (0.02, 0.05, 0.1, 0.2, 0.25) if largest / one <= 6 or one == 0.25)
    high = (_BOTTOM - _TOP) / len(rows)
    for tick in range(int(largest / step) + 1):
        x = left + (right - left) * tick * step / largest
        drawing.line([(x, _TOP), (x, _BOTTOM)], GRID, 1)
        drawing.text(x, _BOTTOM + 24, f"{tick * step:.0%}", size=15, fill=FAINT, anchor="middle")
    for number, one in enumerate(rows):
        y = _TOP + high * (number + 0.5)
        low_x, mid_x, high_x = (
            left + (right - left) * min(share, largest) / largest
            for share in (max(one.low, 0.0), one.rate, one.high)
        )
        drawing.line([(low_x, y), (high_x, y)], BLUE, 3)
        drawing.dot(mid_x, y, 6, BLUE)
        drawing.text(left - 12, y + 5, fit(one.name, 230, 16), size=16, anchor="end")
        drawing.text(right + 12, y + 5, f"{one.rate:.1%}", size=16)
    return drawing


def _share(rate: float, low: float, high: float) -> str:
    return f"{rate:.1%} ({low:.1%} to {high:.1%})"


def draw_levels(gain: Gain) -> Drawing:
    """Draw what each set of labels taught, every training a dot."""
    judged = gain.main
    told = ", ".join(
        f"{ARM_NAMES[arm].lower()} {format_level(gain, judged.mean(arm))}" for arm in ARM_NAMES
    )
    drawing = _begin("levels", f"What the model learned: {name_measure(gain)}", told)
    everything = [value for arm in ARMS for value in judged.arms[arm]]
    low, high = min(everything), max(everything)
    margin = max((high - low) * 0.15, 0.002)
    low, high = low - margin, high + margin
    left, right, top = 300.0, WIDTH - 110.0, 130.0

    def place(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    for value in _list_between(low, high):
        drawing.line([(place(value), top - 20), (place(value), _BOTTOM - 30)], GRID, 1)
        drawing.text(
            place(value),
            _BOTTOM - 4,
            format_level(gain, value),
            size=15,
            fill=FAINT,
            anchor="middle",
        )
    for number, (arm, name) in enumerate(ARM_NAMES.items()):
        y = top + 40 + number * 110
        for value in judged.arms[arm]:
            drawing.dot(place(value), y, 6, _ARM_COLOURS[arm])
        mean = place(judged.mean(arm))
        drawing.line([(mean, y - 24), (mean, y + 24)], _ARM_COLOURS[arm], 4)
        drawing.text(left - 16, y + 6, name, size=17, anchor="end")
        drawing.text(right + 12, y + 6, format_level(gain, judged.mean(arm)), size=17, bold=True)
    return drawing


_DIFFERENCES = (
    ("given", "corrected", "Corrected, over given"),
    ("given", "control", "Random reviews, over given"),
    ("control", "corrected", "Corrected, over random reviews"),
)


def name_differences() -> list[tuple[tuple[str, str], str]]:
    """Return the pairs of sets of labels that are compared, with their names."""
    return [((one, other), name) for one, other, name in _DIFFERENCES]


def draw_differences(gain: Gain) -> Drawing:
    """Draw the paired differences with their intervals."""
    judged = gain.main
    rows = [
        (name, judged.difference(one, other), _ARM_COLOURS[other if one == "given" else "given"])
        for one, other, name in _DIFFERENCES
    ]
    told = format_interval(gain, judged.difference("given", "corrected"))
    unit = "percentage points" if gain.measure == "accuracy" else "units"
    title = f"What the review gained in {name_measure(gain)}"
    below = f"{told}; lines are 95% intervals, in {unit}"
    return _draw_intervals(gain, _begin("gain", title, told, below), rows)


def draw_class_gains(gain: Gain) -> Drawing:
    """Draw the gain by class, the largest first."""
    rows = sorted(gain.main.classes, key=lambda one: -one.difference.mean)
    few = rows if len(rows) <= MOST_ROWS else [*rows[: MOST_ROWS // 2], *rows[-MOST_ROWS // 2 :]]
    best = few[0]
    told = (
        f"the most in {gain.classes[best.label]}: {format_interval(gain, best.difference)}"
        if best.difference.mean > 0
        else "in no class more were recognised"
    )
    below = f"{told}; lines are 95% intervals, in points"
    if len(few) < len(rows):
        below += f"; the {len(few)} most changed of {len(rows)} classes"
    drawing = _begin("gain-by-class", "What the review gained by class", told, below)
    named = [(gain.classes[one.label], one.difference, BLUE) for one in few]
    return _draw_intervals(gain, drawing, named)


def _draw_intervals(
    gain: Gain, drawing: Drawing, rows: Sequence[tuple[str, Interval, str]]
) -> Drawing:
    left, right = 320.0, WIDTH - 120.0
    low = min(0.0, *(one.low for _, one, _ in rows))
    high = max(0.0, *(one.high for _, one, _ in rows))
    margin = max((high - low) * 0.06, 1e-4)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    for value in _list_between(low, high):
        drawing.line([(place(value), _TOP), (place(value), _BOTTOM)], GRID, 1)
        drawing.text(
            place(value),
            _BOTTOM + 24,
            format_difference(gain, value),
            size=15,
            fill=FAINT,
            anchor="middle",
        )
    drawing.line([(place(0), _TOP), (place(0), _BOTTOM)], INK, 1.5)
    step = (_BOTTOM - _TOP) / len(rows)
    for number, (name, one, colour) in enumerate(rows):
        y = _TOP + step * (number + 0.5)
        drawing.line([(place(one.low), y), (place(one.high), y)], colour, 4)
        drawing.dot(place(one.mean), y, 7, colour)
        drawing.text(left - 16, y + 6, fit(name, 290, 17), size=17, anchor="end")
        told = format_difference(gain, one.mean)
        drawing.text(right + 14, y + 6, told, size=17, bold=True)
    return drawing
