// What stands above the cards: how many are left and selected, what can be decided, what was done.

class GridBar {
  // `grid` is asked how things stand, and told what is pressed.
  constructor(grid) {
    this.grid = grid
    this.node = element("div", "bar")
    const head = element("div", "line")
    this.parts = {
      counts: element("span", "counts"),
      chosen: element("span", "chosen"),
      all: this.button("All shown", "A", () => grid.selectShown()),
      every: this.button("", "", () => grid.selectEverything()),
      none: this.button("Clear", "Esc", () => grid.clear()),
      sizes: element("span", "sizes"),
      actions: element("div", "line actions"),
      told: element("p", "told"),
      shown: element("div", "shown"),
      end: element("div", "line end"),
      legend: element("p", "legend"),
    }
    const { counts, chosen, all, every, none, sizes, actions, told, shown } = this.parts
    told.setAttribute("role", "status")
    sizes.setAttribute("role", "group")
    sizes.setAttribute("aria-label", "Size of the pictures")
    head.append(counts, chosen, all, every, none, sizes)
    this.node.append(head, actions, told, shown)
  }

  button(words, key, act) {
    const made = element("button", "", words)
    made.type = "button"
    if (key) made.append(element("kbd", "", key))
    made.onclick = event => {
      act(event)
      if (event.detail > 0) this.grid.list.focusActive() // keys go on where the pointer was
    }
    return made
  }

  draw() {
    const { grid } = this
    const { counts, chosen, all, every, none } = this.parts
    const { left, total } = grid.counts
    counts.textContent = `${left.toLocaleString("en")} of ${total.toLocaleString("en")} left`
    const number = grid.number()
    chosen.textContent = number ? `${number.toLocaleString("en")} selected` : ""
    none.disabled = !number
    all.disabled = !grid.cards.length
    const isAll = grid.cards.every(card => grid.selection.has(card.id))
    every.hidden = !(grid.data.passing > grid.cards.length && isAll && !grid.selection.everything)
    every.textContent = `All ${grid.data.passing.toLocaleString("en")} of this filter`
    this.drawSizes()
    this.drawActions()
    this.drawEnd()
    this.parts.legend.textContent = this.legend()
  }

  drawSizes() {
    const { sizes } = this.parts
    const { list } = this.grid
    sizes.hidden = !this.grid.data.hasPictures
    const now = list.size()
    sizes.replaceChildren(
      ...Object.entries(SIZES).map(([name, { title }]) => {
        const made = this.button(title, "", () => {
          keepIn(localStorage, SIZE_KEPT, name)
          list.draw()
          this.draw()
          sizes.querySelector("[aria-pressed=true]")?.focus()
        })
        made.setAttribute("aria-pressed", String(name === now))
        return made
      }),
    )
  }

  drawActions() {
    const { grid } = this
    if (grid.asked) return this.drawQuestion(grid.asked)
    const number = grid.number()
    const made = grid.data.actions.map(action => {
      const one = this.button(action.title, action.key.toUpperCase(), () => grid.decide(action))
      one.disabled = !number
      if (action.first) one.classList.add("first")
      return one
    })
    if (grid.data.classes.length) made.splice(1, 0, this.relabelBox(number))
    const last = grid.sender.last(grid.data.project)
    const undo = this.button("Undo", "U", () => grid.undo())
    undo.title = last ? `Takes back: ${last.words}` : "Nothing was decided here"
    undo.disabled = !last
    this.parts.actions.replaceChildren(...made, undo)
  }

  relabelBox(number) {
    const names = JSON.stringify(this.grid.data.classes)
    if (this.box?.names !== names) this.box = { names, element: this.makeRelabelBox() }
    this.box.element.disabled = !number
    return this.box.element
  }

  makeRelabelBox() {
    const { grid } = this
    const box = element("select", "relabel")
    box.setAttribute("aria-label", "Relabel the selected to")
    box.append(new Option("Relabel to …", ""))
    grid.data.classes.forEach((name, label) => box.append(new Option(name, String(label))))
    box.onchange = () => {
      if (box.value === "") return
      grid.relabelTo(Number(box.value))
      box.value = ""
      if (!grid.asked) grid.list.focusActive()
    }
    return box
  }

  drawQuestion({ action, number }) {
    const words = element("span", "", `${action.title}: ${countOf(number)}?`)
    const yes = this.button(`Yes, ${countOf(number)}`, "Enter", () => this.grid.confirm())
    yes.classList.add("first")
    const no = this.button("No", "Esc", () => this.grid.refuse())
    this.parts.actions.replaceChildren(words, yes, no)
    yes.focus()
  }

  drawEnd() {
    const { end } = this.parts
    const { cards, counts, data, component } = this.grid
    const isDone = cards.length > 0 && cards.every(card => card.decided)
    end.hidden = !isDone || data.query.status !== "pending"
    if (end.hidden) return end.replaceChildren()
    const words = counts.left
      ? "All that are shown here are decided."
      : "All of this filter are decided."
    const next = this.button(counts.left ? "Show the next ones" : "What is next?", "", () =>
      component.setTriggerValue("next", true),
    )
    next.classList.add("first")
    end.replaceChildren(element("span", "", words), next)
  }

  legend() {
    const { actions, classKeys } = this.grid.data
    const keys = actions.map(one => `${one.key.toUpperCase()} ${one.title.toLowerCase()}`)
    if (classKeys.length) keys.push("digits relabel")
    return (
      "Arrows move, Space selects, Shift with either or with a click selects up to there, A all " +
      `shown, Esc none, Enter opens. ${keys.join(", ")}, U undo: of the selected, or of the ` +
      "one with the frame."
    )
  }

  // What has been done, or why nothing was; with the examples that it speaks of.
  say(words, isFault = false, examples = []) {
    const { told, shown } = this.parts
    told.textContent = words
    told.classList.toggle("fault", isFault)
    shown.replaceChildren(...examples.map(showSmall))
  }
}
