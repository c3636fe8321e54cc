// Many suspects at once, after `card_nodes.js`, `fields.js` and `grid_sender.js`. What is selected
// is decided together; without a selection a key decides about the card that has the focus. Whatever
// comes from data goes in as text nodes and attributes.

const SIZES = {
  list: { title: "List", edge: 64 },
  small: { title: "Small", edge: 80 },
  medium: { title: "Medium", edge: 128 },
  large: { title: "Large", edge: 240 },
}
const SIZE_KEPT = "tracin-queue-size"
const PLACE_KEPT = "tracin-queue-place"
const ASK_ABOVE = 10 // examples that are decided without being asked
const THUMBNAIL = 160 // pixels that a thumbnail has; more is asked as a picture

class Grid {
  constructor(component, root) {
    this.root = root
    this.sender = getBatchSender()
    this.selected = new Set()
    this.everything = false // all that pass the filter, shown or not
    this.anchor = 0
    this.active = 0
    this.waiting = new Map() // cards by the token of what was sent about them
    this.asked = null // what waits for a yes
    this.build()
    this.onKey = event => this.press(event)
    document.addEventListener("keydown", this.onKey)
    this.update(component)
    this.sender.listener = this
    this.restorePlace()
    this.sender.send()
  }

  stop() {
    document.removeEventListener("keydown", this.onKey)
    if (this.sender.listener === this) this.sender.listener = null
  }

  // ---- The page ----

  update(component) {
    this.component = component
    const before = this.data
    this.data = component.data
    const names = data => JSON.stringify([data.project, data.query, data.cards.map(one => one.id)])
    this.cards = this.data.cards
    this.counts = { left: this.data.left, total: this.data.total }
    if (before && names(before) === names(this.data)) {
      this.cards.forEach((card, place) => this.fill(place))
    } else {
      this.selected.clear()
      this.everything = false
      this.active = this.anchor = 0
      this.asked = null
      this.drawCards()
    }
    this.drawBar()
  }

  build() {
    const bar = element("div", "bar")
    const head = element("div", "line")
    this.parts = {
      counts: element("span", "counts"),
      chosen: element("span", "chosen"),
      all: this.button("All shown", "A", () => this.selectShown()),
      every: this.button("", "", () => this.selectEverything()),
      none: this.button("Clear", "Esc", () => this.clear()),
      sizes: element("span", "sizes"),
      actions: element("div", "line actions"),
      told: element("p", "told"),
      list: element("ul", "cards"),
      end: element("div", "line end"),
    }
    const { counts, chosen, all, every, none, sizes, actions, told, list, end } = this.parts
    told.setAttribute("role", "status")
    sizes.setAttribute("role", "group")
    sizes.setAttribute("aria-label", "Size of the pictures")
    head.append(counts, chosen, all, every, none, sizes)
    bar.append(head, actions, told)
    list.setAttribute("role", "listbox")
    list.setAttribute("aria-multiselectable", "true")
    list.onclick = event => this.click(event)
    this.parts.legend = element("p", "legend")
    this.root.replaceChildren(bar, end, list, this.parts.legend)
  }

  button(words, key, act) {
    const made = element("button", "", words)
    made.type = "button"
    if (key) made.append(element("kbd", "", key))
    made.onclick = event => {
      act(event)
      if (event.detail > 0) this.focusActive() // keys go on where the pointer was
    }
    return made
  }

  size() {
    if (!this.data.hasPictures) return "list"
    const kept = readKept(localStorage, SIZE_KEPT)
    return kept in SIZES ? kept : "medium"
  }

  drawCards() {
    const { list } = this.parts
    const size = this.size()
    list.className = size === "list" ? "cards list" : `cards grid ${size}`
    list.style.setProperty("--image-size", `${SIZES[size].edge}px`)
    list.setAttribute("aria-label", this.data.label)
    this.items = this.cards.map((card, place) => {
      const item = element("li", "item")
      item.setAttribute("role", "option")
      item.dataset.id = card.id
      item.dataset.place = place
      item.dataset.rank = card.rank
      item.onfocus = () => this.activate(place)
      return item
    })
    list.replaceChildren(...this.items)
    this.cards.forEach((card, place) => this.fill(place))
  }

  fill(place) {
    const card = this.cards[place]
    const size = this.size()
    const edge = SIZES[size].edge
    const item = this.items[place]
    const box = element("div", "card")
    const check = element("span", "check", "✓")
    check.setAttribute("aria-hidden", "true")
    if (size === "list") box.append(check)
    const image = edge > THUMBNAIL && card.picture ? card.picture : card.image
    const tags = [...card.tags, ...card.states]
    fillCard(box, { ...card, image, tags }, { imageSize: edge })
    if (size !== "list") box.append(check)
    // Its name is all that it shows, and this before it in place of the bare number.
    box.querySelector(".heading")?.setAttribute("aria-hidden", "true")
    item.replaceChildren(element("span", "spoken", `Suspect ${card.heading}: `), box)
    this.mark(place)
  }

  // How a card stands: selected, decided, on its way, and whether Tab leads to it.
  mark(place) {
    const card = this.cards[place]
    const item = this.items[place]
    const isWaiting = [...this.waiting.values()].some(ids => ids.has(card.id))
    item.setAttribute("aria-selected", String(this.selected.has(card.id)))
    item.tabIndex = place === this.active ? 0 : -1
    item.classList.toggle("selected", this.selected.has(card.id))
    item.classList.toggle("decided", card.decided)
    item.classList.toggle("waiting", isWaiting)
    item.classList.toggle("marked", place === this.active)
  }

  markAll() {
    this.cards.forEach((card, place) => this.mark(place))
    this.drawBar()
  }

  activate(place) {
    const before = this.active
    this.active = Math.max(0, Math.min(place, this.cards.length - 1))
    if (before !== this.active && this.items[before]) this.mark(before)
    this.mark(this.active)
  }

  focusActive() {
    this.items[this.active]?.focus({ preventScroll: false })
  }

  // ---- The bar ----

  drawBar() {
    const { counts, chosen, all, every, none } = this.parts
    const { left, total } = this.counts
    counts.textContent = `${left.toLocaleString("en")} of ${total.toLocaleString("en")} left`
    const number = this.number()
    chosen.textContent = number ? `${number.toLocaleString("en")} selected` : ""
    none.disabled = !number
    all.disabled = !this.cards.length
    const isAll = this.cards.every(card => this.selected.has(card.id))
    const more = this.data.passing > this.cards.length && isAll && !this.everything
    every.hidden = !more
    every.textContent = `All ${this.data.passing.toLocaleString("en")} of this filter`
    this.drawSizes()
    this.drawActions()
    this.drawEnd()
    this.parts.legend.textContent = this.legend()
  }

  drawSizes() {
    const { sizes } = this.parts
    sizes.hidden = !this.data.hasPictures
    const now = this.size()
    sizes.replaceChildren(
      ...Object.entries(SIZES).map(([name, { title }]) => {
        const made = this.button(title, "", () => {
          keepIn(localStorage, SIZE_KEPT, name)
          this.drawCards()
          this.drawBar()
          this.parts.sizes.querySelector("[aria-pressed=true]")?.focus()
        })
        made.setAttribute("aria-pressed", String(name === now))
        return made
      }),
    )
  }

  drawActions() {
    const { actions } = this.parts
    if (this.asked) return this.drawQuestion()
    const number = this.number()
    const made = this.data.actions.map(action => {
      const one = this.button(action.title, action.key.toUpperCase(), () => this.decide(action))
      one.disabled = !number
      if (action.first) one.classList.add("first")
      return one
    })
    if (this.data.classes.length) made.splice(1, 0, this.relabelBox(number))
    const last = this.sender.last(this.data.project)
    const undo = this.button("Undo", "U", () => this.undo())
    undo.title = last ? `Takes back: ${last.words}` : "Nothing was decided here"
    undo.disabled = !last
    actions.replaceChildren(...made, undo)
  }

  relabelBox(number) {
    const names = JSON.stringify(this.data.classes)
    if (this.box?.names !== names) this.box = { names, element: this.makeRelabelBox() }
    this.box.element.disabled = !number
    return this.box.element
  }

  makeRelabelBox() {
    const box = element("select", "relabel")
    box.setAttribute("aria-label", "Relabel the selected to")
    box.append(new Option("Relabel to …", ""))
    this.data.classes.forEach((name, label) => box.append(new Option(name, String(label))))
    box.onchange = () => {
      if (box.value === "") return
      this.relabelTo(Number(box.value))
      box.value = ""
      if (!this.asked) this.focusActive()
    }
    return box
  }

  relabelTo(label) {
    const title = `Relabel to ${this.data.classes[label]}`
    this.decide({ code: "relabel", title, done: `to ${this.data.classes[label]}`, label })
  }

  drawQuestion() {
    const { action, number } = this.asked
    const words = element("span", "", `${action.title}: ${countOf(number)}?`)
    const yes = this.button(`Yes, ${countOf(number)}`, "Enter", () => this.confirm())
    yes.classList.add("first")
    const no = this.button("No", "Esc", () => this.refuse())
    this.parts.actions.replaceChildren(words, yes, no)
    yes.focus()
  }

  drawEnd() {
    const { end } = this.parts
    const isDone = this.cards.length > 0 && this.cards.every(card => card.decided)
    end.hidden = !isDone || this.data.query.status !== "pending"
    if (end.hidden) return end.replaceChildren()
    const words = this.counts.left
      ? "All that are shown here are decided."
      : "All of this filter are decided."
    const next = this.button(this.counts.left ? "Show the next ones" : "What is next?", "", () =>
      this.component.setTriggerValue("next", true),
    )
    next.classList.add("first")
    end.replaceChildren(element("span", "", words), next)
  }

  legend() {
    const keys = this.data.actions.map(one => `${one.key.toUpperCase()} ${one.title.toLowerCase()}`)
    if (this.data.classKeys.length) keys.push("digits relabel")
    return (
      "Arrows move, Space selects, Shift with either or with a click selects up to there, A all " +
      `shown, Esc none, Enter opens. ${keys.join(", ")}, U undo: of the selected, or of the ` +
      "one with the frame."
    )
  }

  say(words, isFault = false) {
    this.parts.told.textContent = words
    this.parts.told.classList.toggle("fault", isFault)
  }

  // ---- Selecting ----

  number() {
    return this.everything ? this.data.passing : this.selected.size
  }

  click(event) {
    const item = event.target.closest?.(".item")
    if (!item) return
    const place = Number(item.dataset.place)
    this.activate(place)
    item.focus()
    const isBox = event.target.closest(".check") !== null
    if (event.shiftKey) this.selectRange(place)
    else if (isBox || event.ctrlKey || event.metaKey || this.selected.size) this.toggle(place)
    else this.open(place)
  }

  toggle(place) {
    const { id } = this.cards[place]
    if (!this.selected.delete(id)) this.selected.add(id)
    this.everything = false
    this.anchor = place
    this.mark(place)
    this.drawBar()
  }

  selectRange(place) {
    const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)]
    for (let one = from; one <= to; one += 1) this.selected.add(this.cards[one].id)
    this.everything = false
    getSelection()?.removeAllRanges()
    this.markAll()
  }

  selectShown() {
    this.cards.forEach(card => this.selected.add(card.id))
    this.markAll()
  }

  selectEverything() {
    this.everything = true
    this.markAll()
  }

  clear() {
    this.selected.clear()
    this.everything = false
    this.markAll()
  }

  open(place) {
    const { id } = this.cards[place]
    const main = this.scroller()
    keepIn(sessionStorage, PLACE_KEPT, { address: location.search, id, top: main?.scrollTop ?? 0 })
    this.component.setTriggerValue("opened", id)
  }

  scroller() {
    return document.querySelector("[data-testid=stMain]")
  }

  // Where Back leads to: the card that was opened, at the height where it stood.
  restorePlace() {
    const kept = readKept(sessionStorage, PLACE_KEPT)
    if (!kept || kept.address !== location.search) return
    keepIn(sessionStorage, PLACE_KEPT, null)
    const place = this.cards.findIndex(card => card.id === kept.id)
    if (place < 0) return
    this.activate(place)
    requestAnimationFrame(() => {
      this.items[place]?.focus({ preventScroll: true })
      this.scroller()?.scrollTo({ top: kept.top })
    })
  }

  // ---- Keys ----

  press(event) {
    const target = event.composedPath()[0]
    if (event.defaultPrevented || event.altKey || document.querySelector("[role=dialog]")) return
    if (isEditable(target) || isComposing(event)) return
    const isInside = event.composedPath().includes(this.root)
    const isElsewhere = !isInside && target !== document.body && takesEnter(target)
    const isNamed = event.key.length > 1 || event.key === " "
    const key = isNamed ? event.key : keyOf(event, this.knownKeys())
    if (event.ctrlKey || event.metaKey) {
      if (key === "a" && isInside) this.run(event, () => this.selectShown())
      return
    }
    if (this.asked) return this.answerQuestion(event, key)
    const isOnCard = this.items.includes(target)
    const step = this.stepOf(key)
    if (step !== null && (isOnCard || target === document.body)) {
      return this.run(event, () => this.move(step, event.shiftKey))
    }
    if (key === " " && isOnCard) {
      return this.run(event, () => (event.shiftKey ? this.selectRange(this.active) : this.toggle(this.active)))
    }
    if (key === "Enter" && isOnCard && !event.repeat) return this.run(event, () => this.open(this.active))
    if (key === "Escape") return this.run(event, () => this.clear())
    if (isElsewhere && key.length > 1) return
    if (key === "a") return this.run(event, () => this.selectShown())
    if (event.repeat) return
    if (key === "u") return this.run(event, () => this.undo())
    const action = this.data.actions.find(one => one.key === key)
    if (action) return this.run(event, () => this.decide(action))
    const label = this.data.classKeys.indexOf(key)
    if (label >= 0) this.run(event, () => this.relabelTo(label))
  }

  knownKeys() {
    return new Set(["a", "u", ...this.data.actions.map(one => one.key), ...this.data.classKeys])
  }

  run(event, act) {
    event.preventDefault()
    act()
  }

  answerQuestion(event, key) {
    if (key === "Escape") this.run(event, () => this.refuse())
    else if (key === "Enter" && !event.repeat) this.run(event, () => this.confirm())
    else if (key.length === 1) this.run(event, () => this.say("Answer first: Enter is yes, Esc is no."))
  }

  // How many places a key leads on; null where it is no such key.
  stepOf(key) {
    const columns = this.columns()
    const steps = {
      ArrowLeft: columns > 1 ? -1 : null,
      ArrowRight: columns > 1 ? 1 : null,
      ArrowUp: -columns,
      ArrowDown: columns,
      Home: -this.active,
      End: this.cards.length - 1 - this.active,
    }
    return steps[key] ?? null
  }

  columns() {
    const top = this.items[0]?.offsetTop
    const next = this.items.findIndex(item => item.offsetTop !== top)
    return next < 0 ? Math.max(1, this.items.length) : next
  }

  move(step, extends_) {
    const place = this.active + step
    if (place < 0 || place >= this.cards.length) return
    this.activate(place)
    if (extends_) this.selectRange(place)
    else this.anchor = place
    this.focusActive()
  }

  // ---- Deciding ----

  chosen() {
    if (this.selected.size) return this.cards.filter(card => this.selected.has(card.id))
    const card = this.cards[this.active]
    return card && this.items.includes(this.focused()) ? [card] : []
  }

  focused() {
    return this.root.getRootNode().activeElement
  }

  decide(action) {
    let cards = this.chosen()
    if (!cards.length) return this.say("Select something first, or go to a card with the arrows.")
    if (action.suggested && !this.everything) {
      const silent = cards.filter(card => card.other === null).length
      cards = cards.filter(card => card.other !== null)
      if (!cards.length) return this.say(`Nothing is suggested for ${countOf(silent)}.`)
    }
    const isBusy = cards.some(card => [...this.waiting.values()].some(ids => ids.has(card.id)))
    if (isBusy) return this.say("What was decided about it is still on its way. Try again.")
    const number = this.everything ? this.data.passing : cards.length
    this.asked = { action, cards, number, all: this.everything }
    if (number > ASK_ABOVE) return this.drawActions()
    this.confirm()
  }

  refuse() {
    this.asked = null
    this.say("Nothing was decided.")
    this.drawBar()
    this.focusActive()
  }

  confirm() {
    const { action, cards, number, all } = this.asked
    this.asked = null
    const token = makeToken()
    const body = {
      ...this.address(token),
      action: action.code,
      suggested: Boolean(action.suggested),
      newLabel: action.label ?? null,
      all,
    }
    if (!all) {
      body.items = cards.map(({ id, version, rank, score, other }) => ({
        id, version, rank, score, newLabel: action.suggested ? other : null,
      }))
    }
    const words = `${action.title.toLowerCase()}, ${countOf(number)}`
    this.waiting.set(token, new Set((all ? this.cards : cards).map(card => card.id)))
    const wasSelected = this.selected.size > 0
    this.selected.clear()
    this.everything = false
    this.say(`${action.title}: ${countOf(number)} …`)
    this.sender.add({ body, words })
    this.markAll()
    if (!wasSelected) this.goOn()
    this.focusActive()
  }

  // To the next card that is not decided, as the review does.
  goOn() {
    const isOpen = place => {
      const card = this.cards[place]
      return !card.decided && ![...this.waiting.values()].some(ids => ids.has(card.id))
    }
    const later = this.cards.findIndex((_, place) => place > this.active && isOpen(place))
    if (later >= 0) this.activate(later)
    this.anchor = this.active
  }

  undo() {
    if (this.sender.entries.some(one => one.body.project === this.data.project)) {
      return this.say("What was decided last is still on its way. Take it back when it is recorded.")
    }
    const last = this.sender.takeLast(this.data.project)
    if (!last) return this.say("There is nothing to take back that was decided here.")
    const body = { ...this.address(makeToken()), undoes: last.token }
    this.say(`Taking back: ${last.words} …`)
    this.sender.add({ body, undoes: true, words: last.words })
    this.drawBar()
  }

  address(token) {
    const { project, mark, query, reviewer } = this.data
    return { project, mark, query, reviewer, token, shown: this.cards.map(card => card.id) }
  }

  // ---- What the sender tells ----

  changed() {
    const { trouble, entries } = this.sender
    if (trouble) {
      this.say(`Not recorded yet: ${trouble}. ${countOf(entries.length, "decision")} wait and are sent again.`, true)
    }
  }

  answered(entry, answer) {
    this.waiting.delete(entry.body.token)
    if (entry.body.project !== this.data.project) return
    const fresh = new Map(answer.cards.map(one => [one.id, one]))
    this.cards.forEach((card, place) => {
      const now = fresh.get(card.id)
      if (!now) return this.mark(place)
      const isSame = JSON.stringify(card.states) === JSON.stringify(now.states)
      Object.assign(card, now)
      if (isSame) this.mark(place)
      else this.fill(place)
    })
    const isSameQuery = JSON.stringify(entry.body.query) === JSON.stringify(this.data.query)
    if (answer.total !== undefined && isSameQuery) {
      this.counts = { left: answer.left, total: answer.total }
    }
    this.say(answer.message, Boolean(answer.isFault || answer.refused.length))
    this.drawBar()
  }
}

const grids = new WeakMap()

export default function (component) {
  const { parentElement } = component
  const root = parentElement.querySelector(".selecting")
  if (!root) return
  const known = grids.get(parentElement)
  if (known) known.update(component)
  else grids.set(parentElement, new Grid(component, root))
  return () => {
    grids.get(parentElement)?.stop()
    grids.delete(parentElement)
  }
}
