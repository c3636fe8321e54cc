// Which cards are selected, and from where Shift reaches on.

class Selection {
  constructor() {
    this.clear()
    this.anchor = 0
  }

  clear() {
    this.ids = new Set()
    this.everything = false // all that pass the filter, shown or not
  }

  get size() {
    return this.ids.size
  }

  has(id) {
    return this.ids.has(id)
  }

  toggle(cards, place) {
    const { id } = cards[place]
    if (!this.ids.delete(id)) this.ids.add(id)
    this.everything = false
    this.anchor = place
  }

  reach(cards, place) {
    const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)]
    for (let one = from; one <= to; one += 1) this.ids.add(cards[one].id)
    this.everything = false
    getSelection()?.removeAllRanges()
  }

  add(cards) {
    cards.forEach(card => this.ids.add(card.id))
  }

  // How many are selected, of those that pass the filter.
  count(passing) {
    return this.everything ? passing : this.ids.size
  }
}
