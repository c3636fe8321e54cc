// Keys of the review. A press is sent together with the example that is on the screen at that
// moment, read from the page itself: Streamlit draws its buttons a little before a component's
// picture, and a shortcut of a button could decide about an example that nobody has seen yet.

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

// The example in the component with this key: its number and version, once its picture has arrived.
const shownExample = watched => {
  for (const host of document.querySelectorAll(`.st-key-${CSS.escape(watched)} *`)) {
    const root = host.shadowRoot && host.shadowRoot.querySelector("[data-example-id]")
    if (!root) continue
    const image = root.querySelector("img")
    if (image && !image.complete) return { reason: "its picture is still loading" }
    return { id: Number(root.dataset.exampleId), version: Number(root.dataset.version) }
  }
  return { reason: "no example is shown" }
}

const findField = label => document.querySelector(`[aria-label="${CSS.escape(label)}"]`)

// What was typed or chosen is Streamlit's to take first; then the keys decide again.
const leave = target => setTimeout(() => target.blur(), 0)

// A box keeps the focus when its choice is made, and the next key would search in it. What was open
// when a click or Enter began, and is closed a moment later, has had its choice.
const LOOK_AFTER = 60 // milliseconds; by then a box that closes has closed
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

const tell = (component, words) => {
  const place = component.parentElement.querySelector(".keys")
  if (place && place.textContent !== words) place.textContent = words
}

const instances = new WeakMap()

const handle = (event, component) => {
  const { data, setTriggerValue } = component
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
  if (event.isComposing) return // Enter ends a word of an input method, not the field
  const target = event.composedPath()[0]
  const fields = data.fields
    .map(field => ({ ...field, element: findField(field.label) }))
    .filter(field => field.element)
  if (isEditable(target)) {
    const ends = event.key === "Enter" && target.tagName === "INPUT" && !isBox(target)
    if (ends || event.key === "Escape") leave(target)
    return
  }
  if (document.querySelector("[role=dialog]")) return
  const key = event.key.toLowerCase()
  if (key === "enter" && takesEnter(target)) return
  for (const field of fields) {
    const begins = field.begunBy.includes(key)
    if (key !== field.key && !begins) continue
    field.element.focus()
    field.element.select()
    // The character itself is typed into the field that now has the focus.
    if (!begins) event.preventDefault()
    return
  }
  if (!data.keys.includes(key)) return
  const shown = shownExample(data.watched)
  if (shown.reason && !data.alwaysOn.includes(key)) {
    tell(component, `${key.toUpperCase()} did nothing: ${shown.reason}.`)
    return
  }
  event.preventDefault()
  tell(component, "")
  setTriggerValue("pressed", { key, id: shown.id ?? null, version: shown.version ?? null })
}

export default function (component) {
  const { parentElement } = component
  const known = instances.get(parentElement)
  if (known) {
    known.component = component
  } else {
    const instance = { component }
    instance.listener = event => handle(event, instance.component)
    document.addEventListener("keydown", instance.listener)
    for (const [name, look] of Object.entries(watchBoxes)) {
      document.addEventListener(name, look, true)
    }
    instances.set(parentElement, instance)
    document.documentElement.dataset.keys = "listening"
  }
  return () => {
    const ended = instances.get(parentElement)
    if (!ended) return
    document.removeEventListener("keydown", ended.listener)
    for (const [name, look] of Object.entries(watchBoxes)) {
      document.removeEventListener(name, look, true)
    }
    instances.delete(parentElement)
    delete document.documentElement.dataset.keys
  }
}
