// What a key does: a decision about what is on the screen, or a field, or a word why it does nothing.

class ReviewKeys {
  constructor(review) {
    this.review = review
    this.choice = review.choice
    this.listeners = [
      [window, "storage", event => this.follow(event), false],
      [document, "keydown", event => this.handle(event), false],
      ...Object.entries(watchBoxes).map(([name, look]) => [document, name, look, true]),
    ]
    for (const [target, name, act, early] of this.listeners) target.addEventListener(name, act, early)
    // Who came by keys has the focus on this page's name, which Enter would open again.
    const focused = document.activeElement
    if (focused?.closest("[data-testid=stSidebarNav]")) focused.blur()
    document.documentElement.dataset.keys = "listening"
  }

  stop() {
    for (const [target, name, act, early] of this.listeners) target.removeEventListener(name, act, early)
    delete document.documentElement.dataset.keys
  }

  // Another tab has changed them.
  follow(event) {
    if (event.key !== null && event.key !== OWN_KEYS) return
    this.choice.reread()
    this.review.rename()
  }

  fields() {
    const { frame, number, search } = this.review
    return [
      { key: "n", element: frame.parts.note, begunBy: "" },
      // The minus of a negative number begins it as well as a digit does.
      ...(number ? [{ key: "v", element: number.input, begunBy: "0123456789-" }] : []),
      ...(search ? [{ key: "c", element: search.input, begunBy: "" }] : []),
    ]
  }

  // What is pressed here, as the person has chosen it.
  known() {
    const usual = new Set(["u", "z", "?", "enter", "escape", ...this.review.data.decisionKeys])
    for (const field of this.fields()) for (const key of [field.key, ...field.begunBy]) usual.add(key)
    return new Set([...usual].map(key => this.choice.of(key)))
  }

  handle(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const { frame } = this.review
    const target = event.composedPath()[0]
    if (isEditable(target)) return leaveField(event)
    if (frame.table.take(event)) return
    const pressed = keyOf(event, this.known())
    if (frame.zoom.move(event.key.toLowerCase())) return event.preventDefault()
    if (!pressed || (pressed === "escape" && !frame.table.isOpen && !frame.zoom.isOn)) return
    if (pressed === "enter" && takesEnter(target)) {
      if (event.repeat) event.preventDefault() // a button that is held down is pressed once
      return
    }
    const name = keyName(pressed)
    if (document.querySelector("[role=dialog]")) {
      return frame.tell(`${name} did nothing: a dialog is open. Close it first.`)
    }
    event.preventDefault()
    if (event.repeat) return frame.tell(`${name} is held down: that is one press.`)
    this.act(this.choice.usual(pressed), name)
  }

  act(key, name) {
    const { review } = this
    const { frame } = review
    const isHelp = key === "?"
    if (key === "escape" && !frame.table.isOpen) return frame.zoom.leave()
    if (isHelp || frame.table.isOpen) frame.table.toggle()
    if (isHelp || key === "escape") return
    const field = key && this.fields().find(one => one.key === key || one.begunBy.includes(key))
    if (field) return this.enterField(field, key)
    if (key === "u") return review.undo()
    if (key === "z") return frame.toggleZoom(name)
    const sheet = review.current
    const all = sheet ? [...sheet.verdicts, ...sheet.classes] : []
    const choice = key && all.find(one => (key === "enter" ? one.first : one.key === key))
    const isDecision = choice || key === "enter" || review.data.decisionKeys.includes(key)
    if (!isDecision) return frame.tell(`${name} is no key of the review. ? shows them.`)
    const why = review.obstacle()
    if (why) frame.tell(`${name} did nothing: ${why}.`)
    else if (choice) review.decide(choice)
    else frame.tell((sheet.reasons[key] ?? `${name} does nothing here.`).replace(/^\S+/, name))
  }

  enterField(field, key) {
    field.element.focus()
    if (field.key === key) field.element.select()
    else field.element.value = key
  }
}
