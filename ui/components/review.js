// The review. Several suspects lie here, built and with their pictures, so that a press paints the
// next one at once; what was decided goes to the server beside it. A press decides about the example
// that is on the screen at that moment, and one that does nothing says why.

const HELD = 10 // suspects that are asked for in advance
const ASK_BELOW = 6 // fewer ahead: ask for more
const MOST_PAST = 200 // decisions that can be taken back without asking the server which
const DOUBLE_CLICK = 250 // milliseconds after the painting in which a second click is no decision
const LONGEST_FRAME = 1000 // milliseconds

class Review {
  constructor(component, root) {
    this.choice = new KeyChoice()
    const press = (choice, event) => this.press(choice, event)
    const acts = { undo: () => this.undo(), press, rename: () => this.rename() }
    this.frame = new Frame(root, acts, this.choice)
    const { note } = this.frame.parts
    note.oninput = () => this.current && this.notes.set(this.current.id, note.value)
    this.outbox = getOutbox()
    this.ahead = []
    this.current = null
    this.past = []
    this.notes = new Map()
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
    this.keys = new ReviewKeys(this)
    this.update(component)
    this.outbox.listener = this
    this.leases = new Leases(this)
    for (const { outcome, ...entry } of this.outbox.takeRefused()) this.refuse(entry, outcome)
    if (this.outbox.entries.length) {
      this.frame.say(`Not recorded yet, from before: ${this.outbox.entries.length}. It is sent again.`)
      this.outbox.send()
    }
  }

  // ---- What the page hands over ----

  update(component) {
    this.component = component
    const { data } = component
    const before = this.data
    this.data = data
    this.choice.setKeys(data.keys, data.otherKeys)
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
    const { project, query, reviewer, screen } = this.data
    const body = { project, query, reviewer, screen, ids, held: this.held(), seen: this.seen() }
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
    this.leases.waitForOthers(answer.withOthers)
    this.frame.tellStanding(answer.standing)
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
    const opener = { setTriggerValue: (name, value) => this.component.setTriggerValue(name, value) }
    sheet.nodes ??= sheetNodes(sheet, this.data.told, opener)
  }

  show(sheet) {
    this.current = sheet
    this.build(sheet)
    this.drawExample()
    this.isPainted = false
    const mark = () => {
      if (this.current !== sheet || this.isPainted) return
      this.isPainted = true
      this.frame.parts.example.dataset.painted = "true"
      this.since = performance.now()
    }
    // After the frame in which it is painted; a page that is hidden paints none.
    requestAnimationFrame(() => setTimeout(mark, 0))
    setTimeout(mark, LONGEST_FRAME)
  }

  drawExample() {
    const { frame, current, data } = this
    frame.showSheet(current, current ? null : this.describeEnd())
    frame.parts.note.value = current ? (this.notes.get(current.id) ?? "") : ""
    this.drawFields()
    frame.showChoices(data, current)
    this.drawFrame()
  }

  drawFields() {
    const { isRegression, searched } = this.data
    const { write } = this.frame.parts
    if (isRegression) this.number ??= new NumberField(write, typed => this.setValue(typed))
    else if (searched.length) {
      const given = () => this.current?.given
      this.search ??= new ClassSearch(write, { given, take: (...found) => this.takeClass(...found) })
      this.search.names = searched
    }
    this.number?.show(this.current)
  }

  // Keys have other names now.
  rename() {
    this.frame.showChoices(this.data, this.current)
    this.drawFrame()
  }

  describeEnd() {
    const end = make("div", "end")
    if (this.isExhausted && this.leases.withOthers) {
      end.append(make("p", "with-others", this.leases.describe()))
      return end
    }
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
    const image = this.frame.parts.example.querySelector("img")
    if (image && !image.complete) return "its picture is still loading"
    if (!this.isPainted) return "the next suspect was not on the screen yet"
    return ""
  }

  decide(choice, typed = null) {
    const sheet = this.current
    const { project, query, reviewer } = this.data
    const note = this.frame.parts.note.value.trim()
    const entry = {
      token: makeToken(),
      project,
      query,
      action: choice.action,
      example: sheet.id,
      version: sheet.version,
      mark: sheet.mark,
      look: sheet.look,
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
      change: sheet.look ? 0 : Number(choice.decides ?? true) - Number(sheet.isReviewed),
    }
    this.past.push({ token: entry.token, sheet, note, change: entry.change })
    if (this.past.length > MOST_PAST) this.past.shift()
    this.notes.delete(sheet.id)
    this.back.delete(sheet.id)
    this.writeAddress(null)
    this.frame.tell("")
    this.frame.say(`Sent: ${choice.sentence}.`)
    this.outbox.add(entry)
    this.next()
  }

  undo() {
    this.undos += 1
    const { project, query, reviewer, mark } = this.data
    const entry = { token: makeToken(), project, query, action: "undo", reviewer, mark, note: "" }
    const last = this.past.pop()
    this.frame.tell("")
    if (last) {
      this.frame.say("Taking back the last decision.")
      const change = -last.change
      this.outbox.add({ ...entry, undoes: last.token, example: last.sheet.id, change })
      // The decision and its undo are an event each.
      last.sheet.version += 2
      this.notes.set(last.sheet.id, last.note)
      this.bringBack(last.sheet)
      this.writeAddress(last.sheet.id)
    } else if (this.outbox.entries.some(one => one.decision)) {
      this.frame.tell(`${keyName(this.choice.of("u"))} did nothing: the last undo is still on its way.`)
    } else if (this.undoable) {
      this.frame.say("Taking back the last decision.")
      this.outbox.add({ ...entry, decision: this.undoable })
      this.undoable = null
    } else {
      this.frame.tell("There is nothing to undo.")
    }
    this.drawFrame()
  }

  // ---- What the outbox tells ----

  answered(entry, outcome) {
    if (outcome.recorded) this.confirm(entry, outcome)
    else this.refuse(entry, outcome)
  }

  confirm(entry, outcome) {
    this.frame.say(outcome.message)
    if (entry.project !== this.data.project) return
    this.counts.reviewed += entry.change ?? 0
    this.frame.dropAlert(outcome.example_id)
    if (entry.action !== "undo") return
    if (entry.decision) {
      if (!outcome.sheet) return void this.ask([outcome.example_id])
      this.notes.set(outcome.example_id, outcome.note)
      this.bringBack(outcome.sheet)
      this.writeAddress(outcome.example_id)
    } else if (this.current?.id === outcome.example_id && !this.outbox.has(outcome.example_id, entry.project)) {
      this.current.version = outcome.version
      this.frame.parts.example.dataset.version = outcome.version
    }
  }

  refuse(entry, outcome) {
    this.past = this.past.filter(one => one.token !== entry.token)
    const isHere = entry.project === this.data.project
    const comes = isHere && this.current && entry.example && this.current.id !== entry.example
    const how = comes ? " The example comes back next." : ""
    const what = isHere ? "" : ` (in the project ${entry.project})`
    this.frame.say("")
    this.frame.alert(entry, `${outcome.message}${what}${how}`)
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

  // ---- The address ----

  // What an undo brought back stays in the address until it is decided, so that a reload shows it.
  writeAddress(exampleId) {
    const address = new URL(location.href)
    if (exampleId) address.searchParams.set("example", exampleId)
    else address.searchParams.delete("example")
    if (address.href !== location.href) history.replaceState(history.state, "", address)
  }

  // ---- The frame ----

  drawFrame() {
    const { place, status, undo, example, panels } = this.frame.parts
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
    this.frame.showKeys()
    if (!this.current && example.querySelector(".end")) example.replaceChildren(this.describeEnd())
    const hasPictures = this.data.kind === "image"
    panels.classList.toggle("pictures", hasPictures)
    this.frame.parts.zoom.hidden = !hasPictures
  }

  // ---- Fields and clicks ----

  takeClass(found, typed) {
    const { frame } = this
    if (!found) return frame.tell(`No other class is named “${typed}”. Nothing was decided.`)
    const why = this.obstacle()
    if (why) return frame.tell(`${found.name} was not taken: ${why}.`)
    this.decide({ action: "relabel", newLabel: found.label, sentence: `relabelled to ${found.name}` })
  }

  setValue(typed) {
    const why = this.obstacle()
    if (why) return this.frame.tell(`The number was not taken: ${why}.`)
    if (!isNumber(typed)) {
      return this.frame.tell(`“${typed.trim()}” is no number. Type one such as 12500 or -3.5.`)
    }
    this.decide({ action: "relabel", sentence: `changed to ${typed.trim()}` }, typed)
  }

  press(choice, event) {
    const why = this.obstacle()
    const isSecond = event.detail > 1 && performance.now() - this.since < DOUBLE_CLICK
    if (!choice) return
    if (why) this.frame.tell(`${choice.label} did nothing: ${why}.`)
    else if (isSecond) this.frame.tell(`${choice.label} did nothing: it was the second click of a double click.`)
    else this.decide(choice)
  }

  stop() {
    this.keys.stop()
    this.frame.stop()
    this.leases.stop()
    clearTimeout(this.again)
    if (this.outbox.listener === this) {
      this.outbox.listener = null
      this.outbox.announce() // another page says what waits
    }
    this.component = null
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
