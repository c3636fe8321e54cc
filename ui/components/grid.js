// Many suspects at once. What is selected is decided together; without a selection a key decides about
// the card that has the focus. Whatever comes from data goes in as text nodes and attributes.

const PLACE_KEPT = "tracin-queue-place"
const ASK_ABOVE = 10 // examples that are decided without being asked

class Grid {
  constructor(component, root) {
    this.root = root
    this.sender = getBatchSender()
    this.selection = new Selection()
    this.waiting = new Map() // cards by the token of what was sent about them
    this.moves = [] // by which the frame went on from a card whose answer is still to come
    this.asked = null // what waits for a yes
    this.list = new CardList(this.selection, {
      isWaiting: id => [...this.waiting.values()].some(ids => ids.has(id)),
      click: (event, place) => this.click(event, place),
    })
    this.bar = new GridBar(this)
    const { end, legend } = this.bar.parts
    root.replaceChildren(this.bar.node, end, this.list.node, legend)
    this.keys = new GridKeys(this)
    this.update(component)
    this.sender.listener = this
    this.restorePlace()
    this.sender.send()
  }

  stop() {
    this.keys.stop()
    if (this.sender.listener === this) this.sender.listener = null
  }

  get cards() {
    return this.data.cards
  }

  update(component) {
    this.component = component
    const before = this.data
    this.data = component.data
    const names = data => JSON.stringify([data.project, data.query, data.cards.map(one => one.id)])
    this.counts = { left: this.data.left, total: this.data.total }
    if (before && names(before) === names(this.data)) this.list.refresh(this.cards)
    else {
      this.selection.clear()
      this.list.active = this.selection.anchor = 0
      this.asked = null
      this.moves = []
      this.list.show(this.data)
    }
    this.bar.draw()
  }

  // ---- Selecting ----

  number() {
    return this.selection.count(this.data.passing)
  }

  drawSelection() {
    this.list.markAll()
    this.bar.draw()
  }

  click(event, place) {
    this.list.activate(place)
    this.list.focusActive()
    const isBox = event.target.closest(".check") !== null
    const selects = isBox || event.ctrlKey || event.metaKey || this.selection.size
    if (event.shiftKey || selects) this.select(place, event.shiftKey)
    else this.open(place)
  }

  select(place, reaches) {
    if (reaches) this.selection.reach(this.cards, place)
    else this.selection.toggle(this.cards, place)
    this.drawSelection()
  }

  selectShown() {
    this.selection.add(this.cards)
    this.drawSelection()
  }

  selectEverything() {
    this.selection.everything = true
    this.drawSelection()
  }

  clear() {
    this.selection.clear()
    this.drawSelection()
  }

  move(step, reaches) {
    const place = this.list.active + step
    if (place < 0 || place >= this.cards.length) return
    this.list.activate(place)
    if (reaches) this.select(place, true)
    else this.selection.anchor = place
    this.list.focusActive()
  }

  // ---- Opening, and coming back ----

  open(place) {
    const { id } = this.cards[place]
    const top = this.scroller()?.scrollTop ?? 0
    keepIn(sessionStorage, PLACE_KEPT, { address: location.search, id, top })
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
    this.list.activate(place)
    requestAnimationFrame(() => {
      this.list.items[place]?.focus({ preventScroll: true })
      this.scroller()?.scrollTo({ top: kept.top })
    })
  }

  // ---- Deciding ----

  chosen() {
    if (this.selection.size) return this.cards.filter(card => this.selection.has(card.id))
    const { current, items } = this.list
    return current && items.includes(this.root.getRootNode().activeElement) ? [current] : []
  }

  relabelTo(label) {
    const title = `Relabel to ${this.data.classes[label]}`
    this.decide({ code: "relabel", title, label })
  }

  decide(action) {
    let cards = this.chosen()
    if (!cards.length) return this.bar.say("Select something first, or go to a card with the arrows.")
    // The server would refuse it: known here, it moves nothing and loses no selection.
    if (!this.data.reviewer) return this.bar.say(`Not recorded. ${this.data.nameless}`, true)
    if (action.suggested && !this.selection.everything) {
      const silent = cards.filter(card => card.other === null).length
      cards = cards.filter(card => card.other !== null)
      if (!cards.length) return this.bar.say(`Nothing is suggested for ${countOf(silent)}.`)
    }
    if (cards.some(card => this.list.isWaiting(card.id))) {
      return this.bar.say("What was decided about it is still on its way. Try again.")
    }
    const all = this.selection.everything
    const number = all ? this.data.passing : cards.length
    this.asked = { action, cards, number, all }
    if (number > ASK_ABOVE) return this.bar.drawActions()
    this.confirm()
  }

  refuse() {
    this.asked = null
    this.bar.say("Nothing was decided.")
    this.bar.draw()
    this.list.focusActive()
  }

  confirm() {
    const { action, cards, number, all } = this.asked
    this.asked = null
    const body = {
      ...this.address(),
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
    this.waiting.set(body.token, new Set((all ? this.cards : cards).map(card => card.id)))
    const wasSelected = this.selection.size > 0
    this.selection.clear()
    this.bar.say(`${action.title}: ${countOf(number)} …`)
    const from = this.list.active
    if (!wasSelected) {
      this.list.goOn()
      this.selection.anchor = this.list.active
      this.moves.push({ token: body.token, from, to: this.list.active })
    }
    this.sender.add({ token: body.token, body, words })
    this.drawSelection()
    this.list.focusActive()
  }

  undo() {
    const { project } = this.data
    if (this.sender.entries.some(one => one.body.project === project)) {
      return this.bar.say(
        "What was decided last is still on its way. Take it back when it is recorded.",
      )
    }
    if (!this.data.reviewer) return this.bar.say(`Not taken back. ${this.data.nameless}`, true)
    const last = this.sender.takeLast(project)
    if (!last) return this.bar.say("There is nothing to take back that was decided here.")
    const body = { ...this.address(), undoes: last.token }
    this.bar.say(`Taking back: ${last.words} …`)
    this.sender.add({ token: body.token, body, undoes: last, words: last.words })
    this.bar.draw()
  }

  address() {
    const { project, mark, query, reviewer } = this.data
    const shown = this.cards.map(card => card.id)
    return { project, mark, query, reviewer, token: makeToken(), shown }
  }

  // ---- What the sender tells ----

  changed() {
    const { trouble, entries, isKept } = this.sender
    if (!trouble) return
    const kept = isKept ? "" : " Do not reload: this browser keeps nothing."
    const wait = `${countOf(entries.length, "decision")} wait and are sent again.`
    this.bar.say(`Not recorded yet: ${trouble}. ${wait}${kept}`, true)
  }

  answered(entry, answer) {
    this.waiting.delete(entry.token)
    if (entry.body.project !== this.data.project) return
    this.list.take(new Map(answer.cards.map(one => [one.id, one])))
    const isSameQuery = JSON.stringify(entry.body.query) === JSON.stringify(this.data.query)
    if (answer.total !== undefined && isSameQuery) {
      this.counts = { left: answer.left, total: answer.total }
    }
    const isRefused = Boolean(answer.isFault || answer.refused.length)
    this.bar.say(answer.message, isRefused, answer.examples)
    this.bar.draw()
    this.settleMove(entry.token, isRefused)
  }

  // Back to the card whose press was refused, unless a person has gone elsewhere since. Presses that
  // were made one after the other lead back to the first of them that was.
  settleMove(token, isRefused) {
    const place = this.moves.findIndex(one => one.token === token)
    if (place < 0) return
    const { from } = this.moves[place]
    const { to } = this.moves.at(-1)
    this.moves.splice(place, 1)
    const hasFocus = this.list.items.includes(this.root.getRootNode().activeElement)
    if (!isRefused || !hasFocus || this.list.active !== to) return
    this.moves = []
    this.list.activate(from)
    this.selection.anchor = from
    this.list.focusActive()
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
