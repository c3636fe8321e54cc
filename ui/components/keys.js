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

// The example in the component with this key, if its picture has arrived.
const shownExample = watched => {
  for (const host of document.querySelectorAll(`.st-key-${CSS.escape(watched)} *`)) {
    const root = host.shadowRoot && host.shadowRoot.querySelector("[data-example-id]")
    if (!root) continue
    const image = root.querySelector("img")
    if (image && !image.complete) return null
    return { id: Number(root.dataset.exampleId), version: Number(root.dataset.version) }
  }
  return null
}

const findField = label => document.querySelector(`[aria-label="${CSS.escape(label)}"]`)

const instances = new WeakMap()

const handle = (event, component) => {
  const { data, setTriggerValue } = component
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
  const target = event.composedPath()[0]
  const fields = data.fields
    .map(field => ({ ...field, element: findField(field.label) }))
    .filter(field => field.element)
  if (fields.some(field => field.element === target)) {
    // After Streamlit's own handler has taken the text; then the keys decide again.
    if (event.key === "Enter" || event.key === "Escape") setTimeout(() => target.blur(), 0)
    return
  }
  if (isEditable(target) || document.querySelector("[role=dialog]")) return
  const key = event.key.toLowerCase()
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
  if (!shown && !data.alwaysOn.includes(key)) return
  event.preventDefault()
  setTriggerValue("pressed", { key, ...(shown || { id: null, version: null }) })
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
    instances.set(parentElement, instance)
    document.documentElement.dataset.keys = "listening"
  }
  return () => {
    const ended = instances.get(parentElement)
    if (!ended) return
    document.removeEventListener("keydown", ended.listener)
    instances.delete(parentElement)
    delete document.documentElement.dataset.keys
  }
}
