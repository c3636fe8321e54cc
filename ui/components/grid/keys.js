// The keys of the queue, after `fields.js`.

class GridKeys {
  constructor(grid) {
    this.grid = grid
    this.listen = event => this.press(event)
    document.addEventListener("keydown", this.listen)
  }

  stop() {
    document.removeEventListener("keydown", this.listen)
  }

  press(event) {
    const { grid } = this
    const target = event.composedPath()[0]
    if (event.defaultPrevented || event.altKey || document.querySelector("[role=dialog]")) return
    if (isEditable(target) || isComposing(event)) return
    const isInside = event.composedPath().includes(grid.root)
    const isElsewhere = !isInside && target !== document.body && takesEnter(target)
    const isNamed = event.key.length > 1 || event.key === " "
    const key = isNamed ? event.key : keyOf(event, this.known())
    if (event.ctrlKey || event.metaKey) {
      if (key === "a" && isInside) this.run(event, () => grid.selectShown())
      return
    }
    if (grid.asked) return this.answerQuestion(event, key)
    if (this.moveOrSelect(event, key, target)) return
    if (key === "Escape") return this.run(event, () => grid.clear())
    if (isElsewhere && key.length > 1) return
    if (key === "a") return this.run(event, () => grid.selectShown())
    if (!event.repeat) this.decide(event, key)
  }

  // Whether the key was one that moves the frame, selects the card with it or opens it.
  moveOrSelect(event, key, target) {
    const { list } = this.grid
    const isOnCard = list.items.includes(target)
    const step = list.stepOf(key)
    if (step !== null && (isOnCard || target === document.body)) {
      this.run(event, () => this.grid.move(step, event.shiftKey))
    } else if (key === " " && isOnCard) {
      this.run(event, () => this.grid.select(list.active, event.shiftKey))
    } else if (key === "Enter" && isOnCard && !event.repeat) {
      this.run(event, () => this.grid.open(list.active))
    } else return false
    return true
  }

  decide(event, key) {
    const { grid } = this
    if (key === "u") return this.run(event, () => grid.undo())
    const action = grid.data.actions.find(one => one.key === key)
    if (action) return this.run(event, () => grid.decide(action))
    const label = grid.data.classKeys.indexOf(key)
    if (label >= 0) this.run(event, () => grid.relabelTo(label))
  }

  answerQuestion(event, key) {
    const { grid } = this
    if (key === "Escape") this.run(event, () => grid.refuse())
    else if (key === "Enter" && !event.repeat) this.run(event, () => grid.confirm())
    else if (key.length === 1) {
      this.run(event, () => grid.bar.say("Answer first: Enter is yes, Esc is no."))
    }
  }

  known() {
    const { actions, classKeys } = this.grid.data
    return new Set(["a", "u", ...actions.map(one => one.key), ...classKeys])
  }

  run(event, act) {
    event.preventDefault()
    act()
  }
}
