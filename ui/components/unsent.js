// Says on every page what a review of this tab has not recorded yet, after `outbox.js`, which goes
// on sending it. On the review itself that is said where it belongs.

const LATER = 2000 // milliseconds that a page is given to be drawn
const COLOURS = { background: "--st-background-color", color: "--st-text-color", borderColor: "--st-orange-color" }
const counted = number => (number === 1 ? "1 decision" : `${number.toLocaleString("en")} decisions`)

const describe = outbox => {
  if (outbox.listener) return ""
  const lines = []
  if (outbox.refused.length) {
    lines.push(`${counted(outbox.refused.length)} of the review could not be recorded. Open Review, which says why.`)
  }
  const waiting = outbox.entries.length
  if (waiting) {
    const why = outbox.failures ? `, as ${outbox.trouble}` : ""
    const kept = outbox.isKept ? "Keep this tab open." : "Do not reload: this browser keeps nothing."
    lines.push(`Not recorded yet: ${counted(waiting)}${why}. They are sent again. ${kept}`)
  }
  return lines.join(" ")
}

// At the foot of the window and not in the page: it is seen wherever one has scrolled to, also where
// the names at the left are hidden.
const makeNotice = () => {
  const notice = document.createElement("div")
  notice.setAttribute("role", "status")
  notice.dataset.testid = "unsent-decisions"
  notice.hidden = true
  Object.assign(notice.style, {
    position: "fixed", bottom: "1rem", left: "50%", transform: "translateX(-50%)", zIndex: "1000000",
    maxWidth: "min(90vw, 46rem)", padding: "0.6rem 1rem", border: "1px solid", borderLeftWidth: "4px",
    borderRadius: "0.4rem", fontSize: "0.9rem",
  })
  document.body.append(notice)
  return notice
}

const notices = new WeakMap()

export default function (component) {
  const { parentElement } = component
  const outbox = getOutbox()
  const known = notices.get(parentElement)
  if (known) return known.stop
  const notice = makeNotice()
  const draw = () => {
    const words = describe(outbox)
    if (notice.textContent !== words) notice.textContent = words
    notice.hidden = !words
    const style = getComputedStyle(parentElement.host ?? parentElement)
    for (const [part, name] of Object.entries(COLOURS)) notice.style[part] = style.getPropertyValue(name)
  }
  const stop = () => {
    removeEventListener(CHANGED, draw)
    notice.remove()
    notices.delete(parentElement)
  }
  notices.set(parentElement, { stop })
  addEventListener(CHANGED, draw)
  // Where the review is being opened, it sends them itself and shows none of them meanwhile.
  setTimeout(() => {
    draw()
    if (!outbox.listener) outbox.send()
  }, LATER)
  return stop
}
