// Fields give the keys back: Enter and Escape end what is typed into any field of the page, and a
// box whose choice is made loses the focus, so that the next key decides instead of being typed.

// A ticked box keeps the focus, but nothing is typed into it.
const UNTYPED = ["checkbox", "radio", "button", "submit", "range"]
const isEditable = target =>
  target instanceof HTMLElement &&
  (target.isContentEditable ||
    ["TEXTAREA", "SELECT"].includes(target.tagName) ||
    (target.tagName === "INPUT" && !UNTYPED.includes(target.type)))

// Enter presses what has the focus, and is no key of the review then.
const PRESSED = "a, button, input, summary, [role=button], [role=tab], [role=radio], [role=checkbox]"
const takesEnter = target => target instanceof Element && target.closest(PRESSED) !== null

// A box that is opened for a choice; in it, letters search.
const isBox = element => element instanceof HTMLElement && element.getAttribute("role") === "combobox"
const isOpen = box => box.getAttribute("aria-expanded") === "true"

// While a word is put together, Enter ends the word and not the field.
const isComposing = event => event.isComposing || event.keyCode === 229

const LOOK_AFTER = 60 // milliseconds; by then a box that closes has closed

// What was typed or chosen is Streamlit's to take first. It draws the field anew then, which may
// give it the focus again.
const leave = target => {
  setTimeout(() => target.blur(), 0)
  setTimeout(() => target.matches(":focus") && target.blur(), LOOK_AFTER)
}

const leaveField = event => {
  const target = event.composedPath()[0]
  if (!isEditable(target) || isComposing(event)) return
  const ends = event.key === "Enter" && target.tagName === "INPUT" && !isBox(target)
  if (ends || event.key === "Escape") leave(target)
}

// A box keeps the focus when its choice is made, and the next key would search in it. What was open
// when a click or Enter began, and is closed a moment later, has had its choice.
let openBox = null
const noteOpenBox = () => {
  const box = document.activeElement
  openBox = isBox(box) && isOpen(box) ? box : null
}
const leaveClosedBox = () => {
  const box = openBox
  if (!box) return
  setTimeout(() => {
    if (document.activeElement === box && !isOpen(box)) box.blur()
  }, LOOK_AFTER)
}
const watchBoxes = {
  pointerdown: noteOpenBox,
  click: leaveClosedBox,
  keydown: event => {
    if (event.key !== "Enter") return
    noteOpenBox()
    leaveClosedBox()
  },
}

// The key that a press means. A layout of another script, or of digits behind Shift, gives no
// character that we know: then the place of the key counts. A Latin letter that means nothing here
// is nothing, wherever it lies.
const keyOf = (event, known) => {
  const key = event.key.toLowerCase()
  if (known.has(key)) return key
  const shifted = event.shiftKey && /^[!-~]$/.test(key)
  if (!/^[a-z0-9]$/.test(key) && !shifted) {
    const place = /^(?:Key([A-Z])|(?:Digit|Numpad)([0-9]))$/.exec(event.code)
    const physical = place && (place[1] ?? place[2]).toLowerCase()
    if (physical && known.has(physical)) return physical
  }
  return [...key].length === 1 && key.trim() ? key : ""
}
