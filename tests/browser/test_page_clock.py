"""The clock of the benchmarks tells the frame in which something is first seen."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.page_clock import install_clock, read_clock

ROWS = 6
# Rows in a shadow tree, hidden at first, one shown every 200 ms. The page notes when, and the third
# frame from then on.
DOCUMENT = """<!doctype html><body><button>Press</button><div id="host"></div><script>
const root = document.querySelector("#host").attachShadow({ mode: "open" })
const shown = [], later = []
for (let number = 0; number < ROWS; number++) {
  const row = document.createElement("p")
  row.className = `row-${number}`
  row.textContent = "a row"
  row.style.display = "none"
  root.append(row)
  setTimeout(() => {
    row.style.display = "block"
    shown[number] = performance.now()
    requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(
      () => { later[number] = performance.now() })))
  }, 400 + 200 * number)
}
let pressed = null
document.querySelector("button").onclick = event => { pressed = event.timeStamp }
</script>""".replace("ROWS", str(ROWS))


def test_the_clock_is_right_to_a_few_frames(browser: Browser, tmp_path: Path):
    place = tmp_path / "page.html"
    place.write_text(DOCUMENT, encoding="utf-8")
    context = browser.new_context()
    install_clock(context)
    try:
        page = context.new_page()
        page.goto(place.as_uri(), wait_until="commit")
        asked, found = [], []
        for number in range(ROWS):
            asked.append(page.evaluate("performance.now()"))
            found.append(read_clock(page, f".row-{number}"))
        page.wait_for_function(f"later.filter(Boolean).length === {ROWS}")
        shown, later = page.evaluate("[shown, later]")
        rows = list(zip(asked, shown, found, later, strict=True))
        assert all(first <= elapsed for _, first, elapsed, _ in rows)
        # On a busy machine some are asked for when they have been there for a while, or the asking
        # takes as long.
        waited = [(elapsed, last) for asked, first, elapsed, last in rows if asked < first]
        assert waited
        assert 2 * sum(elapsed <= last for elapsed, last in waited) >= len(waited)
        page.click("button")  # from here on it counts from the press
        elapsed = read_clock(page, ".row-0")
        pressed, now = page.evaluate("[pressed, performance.now()]")
        assert 0 <= elapsed <= now - pressed
    finally:
        context.close()
