// N puts the cursor into the note; Enter or Escape gives the keyboard back to the decisions.
// Streamlit's own shortcuts are silent while a text field has the focus, so leaving it matters.

const isEditable = target =>
  target instanceof HTMLElement &&
  (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName))

const listeners = new WeakMap()

export default function (component) {
  const { data, parentElement } = component
  const note = () => document.querySelector(`[aria-label="${CSS.escape(data.fieldLabel)}"]`)
  const onKey = event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const target = event.composedPath()[0]
    if (event.key === data.key && !isEditable(target)) {
      const field = note()
      if (!field) return
      event.preventDefault()
      field.focus()
    } else if ((event.key === "Enter" || event.key === "Escape") && target === note()) {
      // After Streamlit's own handler has taken the text.
      setTimeout(() => target.blur(), 0)
    }
  }
  const previous = listeners.get(parentElement)
  if (previous) document.removeEventListener("keydown", previous)
  document.addEventListener("keydown", onKey)
  listeners.set(parentElement, onKey)
  return () => {
    const current = listeners.get(parentElement)
    if (current) document.removeEventListener("keydown", current)
  }
}
