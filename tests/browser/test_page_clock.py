"""The clock of the benchmarks tells the frame in which something is first seen."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.page_clock import install_clock, read_clock

# A row in a shadow tree: hidden at first, shown later than Playwright's first quick looks. The page
# notes when it was shown, and the third frame from then on.
DOCUMENT = """<!doctype html><body><button id="start">Start</button><div id="host"></div><script>
const root = document.querySelector("#host").attachShadow({ mode: "open" })
root.innerHTML = "<p class='row' style='display: none'>a row</p>"
const show = () => {
  root.firstChild.style.display = "block"
  window.shown = performance.now()
  requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(
    () => { window.later = performance.now() })))
}
document.querySelector("#start").onclick = event => { window.clicked = event.timeStamp }
setTimeout(show, 600)
</script>"""


def test_the_clock_is_right_to_a_few_frames(browser: Browser, tmp_path: Path):
    place = tmp_path / "page.html"
    place.write_text(DOCUMENT, encoding="utf-8")
    context = browser.new_context()
    install_clock(context)
    try:
        page = context.new_page()
        page.goto(place.as_uri(), wait_until="commit")
        elapsed = read_clock(page, ".row")
        page.wait_for_function("window.later")
        assert 600 <= page.evaluate("window.shown") <= elapsed <= page.evaluate("window.later")
        page.click("#start")  # from here on it counts from the click
        elapsed = read_clock(page, ".row")
        clicked, now = page.evaluate("[window.clicked, performance.now()]")
        assert 0 <= elapsed <= now - clicked
    finally:
        context.close()
