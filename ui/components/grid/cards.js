// The cards of the queue, after `card_nodes.js`: in a grid or a list, one of them with the frame.

const SIZES = {
  list: { title: "List", edge: 64 },
  small: { title: "Small", edge: 80 },
  medium: { title: "Medium", edge: 128 },
  large: { title: "Large", edge: 240 },
}
const SIZE_KEPT = "tracin-queue-size"
const THUMBNAIL = 160 // pixels that a thumbnail has; more is asked as a picture

class CardList {
  // `isWaiting` says of a card's id whether something about it is on its way; `activated` is told
  // when the focus has gone to another card.
  constructor(selection, { isWaiting, click }) {
    this.selection = selection
    this.isWaiting = isWaiting
    this.active = 0
    this.cards = []
    this.items = []
    this.node = element("ul", "cards")
    this.node.setAttribute("role", "listbox")
    this.node.setAttribute("aria-multiselectable", "true")
    this.node.onclick = event => {
      const item = event.target.closest?.(".item")
      if (item) click(event, Number(item.dataset.place))
    }
  }

  size() {
    if (!this.hasPictures) return "list"
    const kept = readKept(localStorage, SIZE_KEPT)
    return kept in SIZES ? kept : "medium"
  }

  show({ cards, hasPictures, label }) {
    Object.assign(this, { cards, hasPictures })
    this.node.setAttribute("aria-label", label)
    this.draw()
  }

  // The same cards, with what has become of them.
  refresh(cards) {
    this.cards = cards
    cards.forEach((_, place) => this.fill(place))
  }

  draw() {
    const size = this.size()
    this.node.className = size === "list" ? "cards list" : `cards grid ${size}`
    this.node.style.setProperty("--image-size", `${SIZES[size].edge}px`)
    this.items = this.cards.map((card, place) => {
      const item = element("li", "item")
      item.setAttribute("role", "option")
      item.dataset.id = card.id
      item.dataset.place = place
      item.dataset.rank = card.rank
      item.onfocus = () => this.activate(place)
      return item
    })
    this.node.replaceChildren(...this.items)
    this.cards.forEach((_, place) => this.fill(place))
  }

  fill(place) {
    const card = this.cards[place]
    const size = this.size()
    const edge = SIZES[size].edge
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
    this.items[place].replaceChildren(element("span", "spoken", `Suspect ${card.heading}: `), box)
    this.mark(place)
  }

  // How a card stands: selected, decided, on its way, and whether Tab leads to it.
  mark(place) {
    const card = this.cards[place]
    const item = this.items[place]
    const isSelected = this.selection.has(card.id)
    item.setAttribute("aria-selected", String(isSelected))
    item.tabIndex = place === this.active ? 0 : -1
    item.classList.toggle("selected", isSelected)
    item.classList.toggle("decided", card.decided)
    item.classList.toggle("waiting", this.isWaiting(card.id))
    item.classList.toggle("marked", place === this.active)
  }

  markAll() {
    this.cards.forEach((_, place) => this.mark(place))
  }

  // Cards as the server has them now; the others stay as they are.
  take(fresh) {
    this.cards.forEach((card, place) => {
      const now = fresh.get(card.id)
      if (!now) return this.mark(place)
      const isSame = JSON.stringify(card.states) === JSON.stringify(now.states)
      Object.assign(card, now)
      if (isSame) this.mark(place)
      else this.fill(place)
    })
  }

  // ---- The card with the frame ----

  get current() {
    return this.cards[this.active]
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

  // To the next card that is not decided, as the review does.
  goOn() {
    const isOpen = card => !card.decided && !this.isWaiting(card.id)
    const later = this.cards.findIndex((card, place) => place > this.active && isOpen(card))
    if (later >= 0) this.activate(later)
  }
}
