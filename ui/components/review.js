// The review. Several suspects lie here, built and with their pictures, so that a press paints the
// next one at once; what was decided goes to the server beside it. A press decides about the example
// that is on the screen at that moment, and one that does nothing says why.
//
// Whatever comes from data goes in as text nodes and attributes.

const HELD = 10 // suspects that are asked for in advance
const ASK_BELOW = 6 // fewer ahead: ask for more
const MOST_PAST = 200 // decisions that can be taken back without asking the server which
const DOUBLE_CLICK = 250 // milliseconds after the painting in which a second click is no decision
const LONGEST_FRAME = 1000 // milliseconds
const CARD_IMAGE = 56 // CSS pixels
// A class has a name, which has to be read; what may be taken by Enter keeps the place of its sign.
const SLOT_CLASSES = { keep: ["maybe"], model: ["maybe", "wide"], opponents: ["wide"] }
const MATCHES = 8 // classes that are listed for what was typed
const LEAST_STAGE = 240 // CSS pixels of height for the picture

const make = (tag, className, text, attributes = {}) => {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== undefined && text !== null) node.textContent = text
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  return node
}

// Several lines of words, some of them emphasised.
const sentence = (words, className) => {
  const line = make("p", className)
  for (const [text, strong] of words) {
    line.append(strong ? make("strong", "", text) : document.createTextNode(text))
  }
  return line
}

// As `read_number` of the server, which decides: what neither can read is told before it is sent.
const isNumber = typed => {
  let text = typed.trim().replaceAll("−", "-").replace(/[\u00a0\u202f _']/g, "")
  const [whole, ...rest] = text.split(",")
  if (rest.length === 1 && !text.includes(".") && rest[0].length !== 3) text = `${whole}.${rest[0]}`
  text = text.replaceAll(",", "")
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text))
}

class Review {
  constructor(component, root) {
    this.root = root
    this.outbox = getOutbox()
    this.ahead = []
    this.current = null
    this.past = []
    this.notes = new Map()
    this.alerts = new Map()
    this.back = new Set() // came back to be decided again, whatever others do
    this.counts = { reviewed: 0, total: 0 }
    this.undoable = null
    this.isAsking = false
    this.isExhausted = false
    this.isPainted = false
    this.since = 0
    this.epoch = 0 // of the question that suspects are an answer to
    this.undos = 0 // what is offered to be taken back was asked before or after one
    this.trouble = ""
    this.buildFrame()
    this.listen()
    this.update(component)
    this.outbox.listener = this
    for (const { outcome, ...entry } of this.outbox.takeRefused()) this.refuse(entry, outcome)
    if (this.outbox.entries.length) {
      this.say(`Not recorded yet, from before: ${this.outbox.entries.length}. It is sent again.`)
      this.outbox.send()
    }
  }

  // ---- What the page hands over ----

  update(component) {
    this.component = component
    const { data } = component
    const before = this.data
    this.data = data
    const of = one => JSON.stringify([one.project, { ...one.query, layers: "", measure: "" }])
    const isSame = before && of(before) === of(data)
    const isSameEvidence = isSame && JSON.stringify(before.query) === JSON.stringify(data.query)
    if (!isSame) this.restart()
    else if (!isSameEvidence) this.searchAgain()
    else if (data.asked && data.asked !== before.asked && data.asked !== this.current?.id) {
      const asked = data.first.suspects.find(one => one.id === data.asked)
      if (asked && !this.outbox.has(asked.id, data.project)) this.bringBack(asked)
    }
    if (!this.past.length) this.undoable = data.first.undoable
    if (!isSame || !this.outbox.entries.length) this.count(data.first)
    if (!this.current) this.next()
    this.drawFrame()
    this.askAhead()
  }

  restart() {
    this.epoch += 1
    this.isAsking = false
    this.isExhausted = false
    this.past = []
    this.current = null
    this.ahead = this.data.first.suspects.filter(one => !this.outbox.has(one.id, this.data.project))
    this.next()
  }

  // Other evidence for the same suspects: the one on the screen stays there.
  searchAgain() {
    this.epoch += 1
    this.isAsking = false
    this.ahead = []
    const kept = this.current?.id
    const fresh = this.data.first.suspects.find(one => one.id === kept)
    if (fresh && fresh.version === this.current.version) this.show(fresh)
    else if (kept) this.ask([kept])
  }

  // ---- Suspects ahead ----

  held() {
    const ids = this.outbox.entries
      .filter(one => one.project === this.data.project && one.example)
      .map(one => one.example)
    for (const one of [this.current, ...this.ahead]) if (one) ids.push(one.id)
    return [...new Set(ids)].slice(0, 500)
  }

  // The versions of those ahead: others decide, too.
  seen() {
    return Object.fromEntries(this.ahead.map(one => [one.id, one.version]))
  }

  // What others have decided meanwhile need not be decided; what is on the screen stays there.
  dropChanged(ids = []) {
    const gone = new Set(ids.filter(id => !this.outbox.has(id, this.data.project) && !this.back.has(id)))
    if (gone.size) this.ahead = this.ahead.filter(one => !gone.has(one.id))
  }

  askAhead() {
    for (const sheet of this.ahead.slice(0, ASK_BELOW)) this.build(sheet)
    if (!this.isAsking && !this.isExhausted && this.ahead.length < ASK_BELOW) this.ask([])
  }

  async ask(ids) {
    this.isAsking = true
    const { epoch, undos } = this
    const isQuiet = !this.outbox.entries.length
    const { project, query, reviewer } = this.data
    const body = { project, query, reviewer, ids, held: this.held(), seen: this.seen() }
    body.count = Math.max(0, HELD - this.ahead.length)
    let answer
    try {
      const response = await fetch(new URL("suspects", document.baseURI), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(PATIENCE),
      })
      if (response.ok) answer = await response.json()
      else this.trouble = (await response.text()).slice(0, 500)
    } catch {
      this.trouble = "The server does not answer. The next suspects are asked for again."
    }
    if (epoch !== this.epoch || !this.component) return
    this.isAsking = false
    if (!answer) {
      clearTimeout(this.again)
      this.again = setTimeout(() => this.ask(ids), 1500)
      this.drawFrame()
      return
    }
    this.trouble = ""
    this.dropChanged(answer.changed)
    for (const sheet of answer.asked) this.takeFresh(sheet)
    this.takeAhead(answer.suspects, body.count)
    if (!this.past.length && undos === this.undos) this.undoable = answer.undoable
    // Decisions of this screen may have been counted or not; it adds them by itself.
    if (isQuiet && !this.outbox.entries.length) this.count(answer)
    if (!this.current) this.next()
    this.drawFrame()
    this.askAhead()
  }

  takeAhead(sheets, wanted) {
    const known = new Set(this.held())
    this.ahead.push(...sheets.filter(one => !known.has(one.id)))
    // What is on its way may come again, as a skipped one does; `changed` asks for it.
    this.isExhausted = sheets.length < wanted
  }

  // An example as it is now takes the place of what is known of it here.
  takeFresh(sheet) {
    if (this.current?.id === sheet.id) this.show(sheet)
    else this.bringBack(sheet)
  }

  bringBack(sheet) {
    this.back.add(sheet.id)
    this.ahead = this.ahead.filter(one => one.id !== sheet.id)
    if (this.current) this.ahead.unshift(this.current)
    this.show(sheet)
  }

  // ---- On the screen ----

  next() {
    const sheet = this.ahead.shift()
    if (sheet) this.show(sheet)
    else {
      this.current = null
      this.drawExample()
    }
    this.askAhead()
  }

  build(sheet) {
    if (sheet.nodes) return sheet.nodes
    const example = exampleNodes(sheet)
    const badges = make("div", "badges")
    for (const one of sheet.badges) badges.append(make("span", `tag ${one.tone}`, one.text))
    const said = make("div", "said")
    if (sheet.said.length) said.append(sentence(sheet.said))
    for (const line of sheet.lines) said.append(make("p", "quiet", line))
    for (const line of [sheet.source, sheet.marking, sheet.fault]) {
      if (line) said.append(make("p", "quiet", line))
    }
    const told = sheet.troubles.filter(one => !this.data.told.includes(one))
    for (const words of told) said.append(make("p", "trouble", words))
    if (told.length) said.append(make("p", "quiet", "Decisions can be made without it. Score again on Runs."))
    sheet.nodes = { example, badges, said, sides: sheet.sides.map(side => this.buildSide(side, sheet)) }
    return sheet.nodes
  }

  buildSide(side, sheet) {
    const column = make("section", "side")
    column.append(make("h3", "", side.name), make("p", "speaks", side.speaks))
    column.append(make("p", "quiet", side.caption))
    const kind = sheet.image ? "" : sheet.fields.length ? " rows" : " texts"
    const list = make("ul", `cards compact${kind}`, null, { "aria-label": side.name })
    list.style.setProperty("--image-size", `${CARD_IMAGE}px`)
    const settings = { imageSize: CARD_IMAGE, eager: true }
    const opener = { setTriggerValue: (name, value) => this.component.setTriggerValue(name, value) }
    list.append(...side.cards.map(card => cardNode(card, settings, opener)))
    column.append(list)
    return column
  }

  show(sheet) {
    this.current = sheet
    this.build(sheet)
    this.drawExample()
    this.isPainted = false
    const mark = () => {
      if (this.current !== sheet || this.isPainted) return
      this.isPainted = true
      this.parts.example.dataset.painted = "true"
      this.since = performance.now()
    }
    // After the frame in which it is painted; a page that is hidden paints none.
    requestAnimationFrame(() => setTimeout(mark, 0))
    setTimeout(mark, LONGEST_FRAME)
  }

  drawExample() {
    const sheet = this.current
    const { example, badges, said, sides, note } = this.parts
    delete example.dataset.exampleId
    delete example.dataset.painted
    if (!sheet) {
      badges.replaceChildren()
      said.replaceChildren()
      sides.replaceChildren()
      example.replaceChildren(this.describeEnd())
    } else {
      const { nodes } = sheet
      badges.replaceChildren(...nodes.badges.childNodes.length ? [nodes.badges] : [])
      said.replaceChildren(nodes.said)
      sides.replaceChildren(...nodes.sides)
      example.replaceChildren(...nodes.example)
      example.dataset.exampleId = sheet.id
      example.dataset.version = sheet.version
    }
    note.value = sheet ? (this.notes.get(sheet.id) ?? "") : ""
    this.drawBar()
    this.drawFrame()
  }

  describeEnd() {
    const end = make("div", "end")
    if (!this.isExhausted || this.outbox.entries.length) {
      end.append(make("p", "", "The next suspect is on its way."))
      return end
    }
    end.append(make("p", "reviewed", "Every example of this queue has been reviewed."))
    end.append(make("p", "quiet", "Remove a filter, look at the history, or export the corrected labels."))
    return end
  }

  // ---- Decisions ----

  // Why nothing can be decided at this moment; nothing where it can.
  obstacle() {
    if (!this.current) return "no example is shown"
    const image = this.parts.example.querySelector("img")
    if (image && !image.complete) return "its picture is still loading"
    if (!this.isPainted) return "the next suspect was not on the screen yet"
    return ""
  }

  decide(choice, typed = null) {
    const sheet = this.current
    const { project, query, reviewer } = this.data
    const note = this.parts.note.value.trim()
    const entry = {
      token: makeToken(),
      project,
      query,
      action: choice.action,
      example: sheet.id,
      version: sheet.version,
      mark: sheet.mark,
      newLabel: choice.newLabel ?? null,
      newValue: choice.newValue ?? null,
      typed,
      note,
      seconds: Math.round(performance.now() - this.since) / 1000,
      rank: sheet.rank,
      score: sheet.score,
      run: sheet.run,
      shown: sheet.shown,
      reviewer,
      sentence: choice.sentence,
      // By how much the number of those reviewed changes.
      change: Number(choice.decides ?? true) - Number(sheet.isReviewed),
    }
    this.past.push({ token: entry.token, sheet, note, change: entry.change })
    if (this.past.length > MOST_PAST) this.past.shift()
    this.notes.delete(sheet.id)
    this.back.delete(sheet.id)
    this.writeAddress(null)
    this.tell("")
    this.say(`Sent: ${choice.sentence}.`)
    this.outbox.add(entry)
    this.next()
  }

  undo() {
    this.undos += 1
    const { project, query, reviewer, mark } = this.data
    const entry = { token: makeToken(), project, query, action: "undo", reviewer, mark, note: "" }
    const last = this.past.pop()
    this.tell("")
    if (last) {
      this.say("Taking back the last decision.")
      const change = -last.change
      this.outbox.add({ ...entry, undoes: last.token, example: last.sheet.id, change })
      // The decision and its undo are an event each.
      last.sheet.version += 2
      this.notes.set(last.sheet.id, last.note)
      this.bringBack(last.sheet)
      this.writeAddress(last.sheet.id)
    } else if (this.outbox.entries.some(one => one.decision)) {
      this.tell("U did nothing: the last undo is still on its way.")
    } else if (this.undoable) {
      this.say("Taking back the last decision.")
      this.outbox.add({ ...entry, decision: this.undoable })
      this.undoable = null
    } else {
      this.tell("There is nothing to undo.")
    }
    this.drawFrame()
  }

  // ---- What the outbox tells ----

  answered(entry, outcome) {
    if (outcome.recorded) this.confirm(entry, outcome)
    else this.refuse(entry, outcome)
  }

  confirm(entry, outcome) {
    this.say(outcome.message)
    if (entry.project !== this.data.project) return
    this.counts.reviewed += entry.change ?? 0
    this.dropAlert(outcome.example_id)
    if (entry.action !== "undo") return
    if (entry.decision) {
      if (!outcome.sheet) return void this.ask([outcome.example_id])
      this.notes.set(outcome.example_id, outcome.note)
      this.bringBack(outcome.sheet)
      this.writeAddress(outcome.example_id)
    } else if (this.current?.id === outcome.example_id && !this.outbox.has(outcome.example_id, entry.project)) {
      this.current.version = outcome.version
      this.parts.example.dataset.version = outcome.version
    }
  }

  refuse(entry, outcome) {
    this.past = this.past.filter(one => one.token !== entry.token)
    const isHere = entry.project === this.data.project
    const comes = isHere && this.current && entry.example && this.current.id !== entry.example
    const how = comes ? " The example comes back next." : ""
    const what = isHere ? "" : ` (in the project ${entry.project})`
    this.say("")
    this.alert(entry, `${outcome.message}${what}${how}`)
    if (!isHere || !entry.example) return
    if (entry.note) this.notes.set(entry.example, entry.note)
    const sheet = outcome.sheet
    if (!sheet) return void this.ask([entry.example])
    if (this.current?.id === sheet.id) this.show(sheet)
    else if (!this.current) this.bringBack(sheet)
    else {
      // Not under a hand that is about to decide about what it sees.
      this.back.add(sheet.id)
      this.ahead = [sheet, ...this.ahead.filter(one => one.id !== sheet.id)]
      this.build(sheet)
    }
  }

  counted(answer, project) {
    if (project !== this.data.project) return
    if ("undoable" in answer) this.undoable = answer.undoable
    this.dropChanged(answer.changed)
    this.count(answer)
    this.askAhead()
  }

  count(answer) {
    if (typeof answer.total === "number") {
      this.counts = { reviewed: answer.reviewed, total: answer.total }
    }
    this.drawFrame()
  }

  changed() {
    if (!this.outbox.entries.length && !this.current && !this.isAsking) {
      this.isExhausted = false
      this.askAhead()
    }
    this.drawFrame()
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

  // ---- The address ----

  // What an undo brought back stays in the address until it is decided, so that a reload shows it.
  writeAddress(exampleId) {
    const address = new URL(location.href)
    if (exampleId) address.searchParams.set("example", exampleId)
    else address.searchParams.delete("example")
    if (address.href !== location.href) history.replaceState(history.state, "", address)
  }

  // ---- The frame, built once: nothing in it moves with what is shown ----

  buildFrame() {
    const parts = (this.parts = {})
    const top = make("div", "top")
    parts.undo = this.makeButton("undo", "Undo", "U", () => this.undo())
    parts.undo.title = "Takes back your last decision by a new event; nothing is deleted."
    parts.place = make("span", "place")
    parts.status = make("span", "status keys", null, { role: "status" })
    parts.keys = this.makeButton("keys-button", "Keys", "?", () => this.toggleHelp())
    top.append(parts.undo, parts.place, parts.status, parts.keys)
    parts.told = make("p", "told", null, { role: "status" })
    parts.idle = make("strong", "idle")
    parts.done = make("span", "done")
    parts.told.append(parts.idle, parts.done)
    parts.verdicts = make("div", "choices verdicts", null, { role: "group", "aria-label": "Decide" })
    parts.classes = make("div", "choices classes", null, { role: "group", "aria-label": "Relabel" })
    parts.write = make("div", "write")
    parts.note = this.makeField("Note", "Optional; press N to write, Enter to finish", 500)
    parts.note.oninput = () => this.current && this.notes.set(this.current.id, parts.note.value)
    // At once: Streamlit waits for nothing here, and the next key decides.
    parts.note.onkeydown = event => {
      if (event.key === "Enter" && !isComposing(event)) parts.note.blur()
    }
    parts.write.append(this.labelled(parts.note))
    parts.help = make("div", "help", null, { hidden: "", "aria-label": "Keys" })
    parts.alerts = make("div", "alerts")
    parts.badges = make("div")
    parts.example = make("div", "example")
    parts.said = make("div")
    parts.sides = make("div", "sides")
    const left = make("div", "left")
    left.append(parts.badges, parts.example, parts.said)
    parts.panels = make("div", "panels")
    parts.panels.append(left, parts.sides)
    parts.legend = make("p", "legend quiet")
    this.root.replaceChildren(
      top, parts.told, parts.verdicts, parts.classes, parts.write, parts.help, parts.alerts,
      parts.panels, parts.legend,
    )
  }

  makeButton(className, words, key, act) {
    const button = make("button", className, null, { type: "button" })
    button.append(make("span", "words", words), make("kbd", "", key))
    button.onclick = event => {
      // A person who uses a pointer goes on with keys, which Enter is one of.
      if (event.detail > 0) button.blur()
      act(event)
    }
    return button
  }

  makeField(label, placeholder, most) {
    return make("input", "", null, {
      type: "text", "aria-label": label, placeholder, maxlength: most, autocomplete: "off",
    })
  }

  labelled(field) {
    const label = make("label", "field")
    label.append(make("span", "quiet", field.getAttribute("aria-label")), field)
    return label
  }

  drawFrame() {
    const { place, status, undo, legend, help, panels } = this.parts
    const { reviewed, total } = this.counts
    const done = `${reviewed.toLocaleString("en")} of ${total.toLocaleString("en")} reviewed`
    place.textContent = this.current ? `${this.current.place} · ${done}` : done
    const waiting = this.outbox.entries.length
    const lines = []
    if (waiting && this.outbox.failures) {
      lines.push(`Not recorded yet: ${waiting}, as ${this.outbox.trouble}. It is tried again.`)
    } else if (waiting > 1) lines.push(`${waiting} on their way`)
    if (waiting && !this.outbox.isKept) lines.push("Do not reload: this browser keeps nothing.")
    if (this.trouble) lines.push(this.trouble)
    const words = lines.join(" ")
    if (status.textContent !== words) status.textContent = words
    status.classList.toggle("failing", Boolean(this.outbox.failures || this.trouble))
    undo.disabled = !this.past.length && !this.undoable
    const listed = this.data.keys.map(([key, meaning]) => `${key} ${meaning}`).join(", ")
    if (legend.textContent !== `Keys: ${listed}.`) {
      legend.textContent = `Keys: ${listed}.`
      help.replaceChildren(...this.data.keys.map(([key, meaning]) => {
        const line = make("p")
        line.append(make("kbd", "", key), document.createTextNode(` ${meaning}`))
        return line
      }))
    }
    if (!this.current && this.parts.example.querySelector(".end")) {
      this.parts.example.replaceChildren(this.describeEnd())
    }
    panels.classList.toggle("pictures", this.data.kind === "image")
  }

  drawBar() {
    const { verdicts, classes } = this.parts
    const sheet = this.current
    this.drawFields()
    this.fill(verdicts, this.data.slots, sheet?.verdicts ?? [])
    const places = sheet ? sheet.classes.map((_, place) => place) : [...classes.children].map((_, place) => place)
    this.fill(classes, places, sheet?.classes ?? [])
    classes.hidden = this.data.isRegression
  }

  // One button a place: a choice that this suspect does not have leaves its place empty.
  fill(row, slots, choices) {
    while (row.children.length < slots.length) {
      const button = this.makeButton("", "", "", event => this.press(button.choice, event))
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
      key.textContent = named ? "" : choice.key.toUpperCase()
    })
  }

  drawFields() {
    const { write } = this.parts
    const { isRegression, searched } = this.data
    if (isRegression && !this.parts.value) {
      this.parts.value = this.makeField("New value", "", 40)
      this.parts.set = this.makeButton("", "Set value", "Enter", () => this.setValue())
      this.parts.value.onkeydown = event => {
        if (event.key === "Enter" && !isComposing(event)) this.setValue()
      }
      write.prepend(this.labelled(this.parts.value), this.parts.set)
    }
    if (!isRegression && searched.length && !this.parts.search) this.buildSearch()
    if (this.parts.value) {
      this.parts.value.value = ""
      this.parts.value.placeholder = this.current?.givenValue ?? ""
    }
  }

  buildSearch() {
    const box = (this.parts.search = this.makeField("Class", "Type to search a class", 200))
    const list = (this.parts.found = make("ul", "found", null, { role: "listbox", hidden: "" }))
    for (const [name, value] of [["role", "combobox"], ["aria-expanded", "false"], ["aria-autocomplete", "list"]]) {
      box.setAttribute(name, value)
    }
    const label = this.labelled(box)
    label.classList.add("search")
    label.append(list)
    box.oninput = () => this.listClasses(0)
    box.onblur = () => setTimeout(() => this.closeSearch(), 150)
    box.onkeydown = event => {
      if (isComposing(event)) return
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
      if (step) this.listClasses(this.active + step)
      else if (event.key === "Enter") this.takeClass(this.matches?.[this.active])
      else if (event.key === "Escape") this.closeSearch()
      else return
      event.preventDefault()
    }
    this.parts.write.prepend(label)
  }

  listClasses(active) {
    const { search, found } = this.parts
    const wanted = search.value.trim().toLowerCase()
    const names = this.data.searched.map((name, label) => ({ name, label, at: name.toLowerCase().indexOf(wanted) }))
    this.matches = wanted
      ? names.filter(one => one.at >= 0 && one.label !== this.current?.given)
          .sort((one, other) => one.at - other.at).slice(0, MATCHES)
      : []
    this.active = Math.max(0, Math.min(active, this.matches.length - 1))
    found.replaceChildren(...this.matches.map((one, place) => {
      const item = make("li", place === this.active ? "active" : "", one.name, {
        role: "option", "aria-selected": String(place === this.active),
      })
      item.onpointerdown = event => { event.preventDefault(); this.takeClass(one) }
      return item
    }))
    found.hidden = !this.matches.length
    search.setAttribute("aria-expanded", String(!found.hidden))
  }

  closeSearch() {
    const { search, found } = this.parts
    search.value = ""
    this.matches = []
    found.hidden = true
    search.setAttribute("aria-expanded", "false")
  }

  takeClass(found) {
    const typed = this.parts.search.value.trim()
    this.parts.search.blur()
    if (!found) {
      if (typed) this.tell(`No other class is named “${typed}”. Nothing was decided.`)
      return
    }
    const why = this.obstacle()
    if (why) return this.tell(`${found.name} was not taken: ${why}.`)
    this.closeSearch()
    this.decide({ action: "relabel", newLabel: found.label, sentence: `relabelled to ${found.name}` })
  }

  setValue() {
    const { value } = this.parts
    const typed = value.value
    value.blur()
    const why = this.obstacle()
    if (why) return this.tell(`The number was not taken: ${why}.`)
    if (!isNumber(typed)) {
      return this.tell(`“${typed.trim()}” is no number. Type one such as 12500 or -3.5.`)
    }
    this.decide({ action: "relabel", sentence: `changed to ${typed.trim()}` }, typed)
  }

  toggleHelp() {
    this.parts.help.hidden = !this.parts.help.hidden
  }

  // ---- Keys and clicks ----

  press(choice, event) {
    const why = this.obstacle()
    const isSecond = event.detail > 1 && performance.now() - this.since < DOUBLE_CLICK
    if (!choice) return
    if (why) this.tell(`${choice.label} did nothing: ${why}.`)
    else if (isSecond) this.tell(`${choice.label} did nothing: it was the second click of a double click.`)
    else this.decide(choice)
  }

  listen() {
    this.listeners = [
      [document, "keydown", event => this.handle(event), false],
      [window, "resize", () => this.measure(), false],
      ...Object.entries(watchBoxes).map(([name, look]) => [document, name, look, true]),
    ]
    for (const [target, name, act, early] of this.listeners) target.addEventListener(name, act, early)
    // What stands above may come and go; the picture takes what is left of the window.
    this.observer = new ResizeObserver(() => this.measure())
    this.observer.observe(document.body)
    this.observer.observe(this.root)
    document.documentElement.dataset.keys = "listening"
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
    for (const [target, name, act, early] of this.listeners) target.removeEventListener(name, act, early)
    this.observer.disconnect()
    clearTimeout(this.again)
    if (this.outbox.listener === this) this.outbox.listener = null
    this.component = null
    delete document.documentElement.dataset.keys
  }

  fields() {
    const { note, value, search } = this.parts
    return [
      { key: "n", element: note, begunBy: "" },
      // The minus of a negative number begins it as well as a digit does.
      ...(value ? [{ key: "v", element: value, begunBy: "0123456789-" }] : []),
      ...(search ? [{ key: "c", element: search, begunBy: "" }] : []),
    ]
  }

  knownKeys() {
    const known = new Set(["u", "?", "enter", "escape", ...this.data.decisionKeys])
    for (const field of this.fields()) for (const key of [field.key, ...field.begunBy]) known.add(key)
    return known
  }

  handle(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const target = event.composedPath()[0]
    if (isEditable(target)) return leaveField(event)
    const key = keyOf(event, this.knownKeys())
    if (!key || (key === "escape" && this.parts.help.hidden)) return
    if (key === "enter" && takesEnter(target)) {
      if (event.repeat) event.preventDefault() // a button that is held down is pressed once
      return
    }
    const name = key === "enter" ? "Enter" : key.toUpperCase()
    if (document.querySelector("[role=dialog]")) {
      return this.tell(`${name} did nothing: a dialog is open. Close it first.`)
    }
    event.preventDefault()
    if (event.repeat) return this.tell(`${name} is held down: that is one press.`)
    this.act(key, name, event)
  }

  act(key, name, event) {
    const isHelp = key === "?"
    if (isHelp || !this.parts.help.hidden) this.toggleHelp()
    if (isHelp || key === "escape") return
    const field = this.fields().find(one => one.key === key || one.begunBy.includes(key))
    if (field) return this.enterField(field, key)
    if (key === "u") return this.undo()
    const sheet = this.current
    const all = sheet ? [...sheet.verdicts, ...sheet.classes] : []
    const choice = all.find(one => (key === "enter" ? one.first : one.key === key))
    const isDecision = choice || key === "enter" || this.data.decisionKeys.includes(key)
    if (!isDecision) return this.tell(`${name} is no key of the review. ? shows them.`)
    const why = this.obstacle()
    if (why) this.tell(`${name} did nothing: ${why}.`)
    else if (choice) this.decide(choice)
    else this.tell(sheet.reasons[key] ?? `${name} does nothing here.`)
  }

  enterField(field, key) {
    field.element.focus()
    if (field.key === key) field.element.select()
    else field.element.value = key
  }
}

const instances = new WeakMap()

export default function (component) {
  const { parentElement } = component
  const root = parentElement.querySelector(".review")
  if (!root) return
  const known = instances.get(parentElement)
  if (known) known.update(component)
  else instances.set(parentElement, new Review(component, root))
  return () => {
    instances.get(parentElement)?.stop()
    instances.delete(parentElement)
  }
}
