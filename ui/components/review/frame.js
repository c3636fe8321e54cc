// What stands around a suspect, built once: nothing in it moves with what is shown. What has been
// done, why a press did nothing and what was refused is said here.

// A class has a name, which has to be read; what may be taken by Enter keeps the place of its sign.
const SLOT_CLASSES = { keep: ["maybe"], model: ["maybe", "wide"], opponents: ["wide"], slip: ["wide"] }
const LEAST_STAGE = 240 // CSS pixels of height for the picture

class Frame {
  // `acts` are what its buttons do: undo, and press with a choice; `choice` says which keys do it.
  constructor(root, acts, choice) {
    this.root = root
    this.acts = acts
    this.choice = choice
    this.alerts = new Map()
    const parts = (this.parts = {})
    parts.told = make("p", "told", null, { role: "status" })
    parts.idle = make("strong", "idle")
    parts.done = make("span", "done")
    parts.told.append(parts.idle, parts.done)
    parts.verdicts = make("div", "choices verdicts", null, { role: "group", "aria-label": "Decide" })
    parts.classes = make("div", "choices classes", null, { role: "group", "aria-label": "Relabel" })
    parts.help = make("div", "help", null, { hidden: "", "aria-label": "Keys" })
    parts.alerts = make("div", "alerts")
    // How far the review is from where it may stop; it comes with the suspects.
    parts.standing = make("p", "standing quiet")
    parts.legend = make("p", "legend quiet")
    root.replaceChildren(
      this.buildTop(), parts.standing, parts.told, parts.verdicts, parts.classes, this.buildWrite(), parts.help, parts.alerts,
      this.buildPanels(), parts.legend,
    )
    this.table = new KeyTable(parts.help, parts.legend, choice, () => this.acts.rename())
    this.zoom = new Zoom(parts.example, isOn => this.showZoom(isOn))
    // What stands above may come and go; the picture takes what is left of the window.
    this.observer = new ResizeObserver(() => this.measure())
    this.observer.observe(document.body)
    this.observer.observe(root)
    this.resized = () => this.measure()
    addEventListener("resize", this.resized)
  }

  buildTop() {
    const { parts } = this
    const top = make("div", "top")
    parts.undo = makeButton("undo", "Undo", "U", () => this.acts.undo())
    parts.undo.title = "Takes back your last decision by a new event; nothing is deleted."
    parts.place = make("span", "place")
    parts.status = make("span", "status keys", null, { role: "status" })
    parts.zoom = makeButton("zoom-button", "Zoom", "Z", () => this.toggleZoom("Zoom"))
    parts.zoom.title = "Shows the picture at its own pixels; drag it or press the arrow keys to move it."
    parts.zoom.setAttribute("aria-pressed", "false")
    parts.keys = makeButton("keys-button", "Keys", "?", () => this.table.toggle())
    top.append(parts.undo, parts.place, parts.status, parts.zoom, parts.keys)
    return top
  }

  tellStanding(words) {
    const { standing } = this.parts
    if (words !== undefined && standing.textContent !== words) standing.textContent = words
  }

  buildWrite() {
    const { parts } = this
    parts.write = make("div", "write")
    parts.note = makeField("Note", "", 500)
    // At once: Streamlit waits for nothing here, and the next key decides.
    parts.note.onkeydown = event => {
      if (event.key === "Enter" && !isComposing(event)) parts.note.blur()
    }
    parts.write.append(labelled(parts.note))
    return parts.write
  }

  buildPanels() {
    const { parts } = this
    parts.badges = make("div")
    parts.example = make("div", "example")
    parts.said = make("div")
    parts.sides = make("div", "sides")
    const left = make("div", "left")
    left.append(parts.badges, parts.example, parts.said)
    parts.panels = make("div", "panels")
    parts.panels.append(left, parts.sides)
    return parts.panels
  }

  measure() {
    const scroller = document.querySelector("[data-testid=stMain]")
    const top = this.parts.panels.getBoundingClientRect().top + (scroller?.scrollTop ?? 0)
    const stage = `${Math.max(LEAST_STAGE, Math.floor(window.innerHeight - top - 12))}px`
    if (this.stage === stage) return
    this.stage = stage
    this.root.style.setProperty("--stage", stage)
  }

  stop() {
    this.observer.disconnect()
    removeEventListener("resize", this.resized)
  }

  // ---- The suspect ----

  // `end` takes the place of an example where there is none.
  showSheet(sheet, end) {
    const { example, badges, said, sides } = this.parts
    if (this.zoom.isOn) this.zoom.leave()
    delete example.dataset.exampleId
    delete example.dataset.painted
    if (!sheet) {
      badges.replaceChildren()
      said.replaceChildren()
      sides.replaceChildren()
      example.replaceChildren(end)
      return
    }
    const { nodes } = sheet
    badges.replaceChildren(...nodes.badges.childNodes.length ? [nodes.badges] : [])
    said.replaceChildren(nodes.said)
    sides.replaceChildren(...nodes.sides)
    example.replaceChildren(...nodes.example)
    example.dataset.exampleId = sheet.id
    example.dataset.version = sheet.version
  }

  // ---- What can be decided ----

  showChoices(data, sheet) {
    const { verdicts, classes } = this.parts
    this.fill(verdicts, data.slots, sheet?.verdicts ?? [])
    const places = sheet ? sheet.classes.map((_, place) => place) : [...classes.children].map((_, place) => place)
    this.fill(classes, places, sheet?.classes ?? [])
    classes.hidden = data.isRegression
  }

  // One button a place: a choice that this suspect does not have leaves its place empty.
  fill(row, slots, choices) {
    while (row.children.length < slots.length) {
      const button = makeButton("", "", "", event => this.acts.press(button.choice, event))
      button.append(make("kbd", "enter", "↵"))
      row.append(button)
    }
    while (row.children.length > slots.length) row.lastChild.remove()
    slots.forEach((slot, place) => {
      const button = row.children[place]
      const choice = typeof slot === "string" ? choices.find(one => one.name === slot) : choices[slot]
      button.choice = choice
      button.disabled = !choice
      button.className = choice ? (choice.first ? "first" : "other") : "absent"
      button.classList.add(...(SLOT_CLASSES[slot] ?? []))
      if (!choice) return
      const [words, key] = button.children
      words.textContent = choice.label
      words.title = choice.label
      // A class named by its own digit needs no second one beside it.
      const named = choice.label.split(" ", 1)[0] === choice.key
      key.textContent = named ? "" : keyName(this.choice.of(choice.key))
    })
  }

  // ---- The keys ----

  showKeys() {
    const { undo, zoom, note } = this.parts
    for (const [button, usual] of [[undo, "u"], [zoom, "z"]]) {
      button.querySelector("kbd").textContent = keyName(this.choice.of(usual))
    }
    note.placeholder = `Optional; press ${keyName(this.choice.of("n"))} to write, Enter to finish`
    this.table.show()
  }

  // ---- The picture's own pixels ----

  toggleZoom(name) {
    const why = this.zoom.obstacle()
    if (why) this.tell(`${name} did nothing: ${why}.`)
    else this.zoom.toggle()
  }

  showZoom(isOn) {
    this.parts.zoom.setAttribute("aria-pressed", String(isOn))
  }

  // ---- Words ----

  // What has been done.
  say(words) {
    this.parts.done.textContent = words
    this.drawTold()
  }

  // Why a press did nothing; it stays until one does something, whatever is answered meanwhile.
  tell(words) {
    this.parts.idle.textContent = words
    this.drawTold()
  }

  drawTold() {
    const { told, idle, done } = this.parts
    told.title = [idle.textContent, done.textContent].filter(Boolean).join(" ")
  }

  alert(entry, words) {
    const box = make("div", "alert", null, { role: "alert" })
    const close = make("button", "close", "Dismiss", { type: "button" })
    const key = entry.token
    close.onclick = () => this.removeAlert(key)
    box.append(make("span", "", words), close)
    this.alerts.set(key, { box, example: entry.example })
    this.parts.alerts.append(box)
  }

  dropAlert(exampleId) {
    for (const [key, one] of this.alerts) if (one.example === exampleId) this.removeAlert(key)
  }

  removeAlert(key) {
    this.alerts.get(key)?.box.remove()
    this.alerts.delete(key)
  }
}
