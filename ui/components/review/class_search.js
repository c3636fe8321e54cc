// The field that searches a class by its name, of a project with more classes than digits.

const MATCHES = 8 // classes that are listed for what was typed

class ClassSearch {
  // `given` returns the label that is not offered; `take` is told of the class that was found, or
  // of what was typed where none is named so.
  constructor(place, { given, take }) {
    this.given = given
    this.take = take
    this.names = []
    this.input = makeField("Class", "Type to search a class", 200)
    this.found = make("ul", "found", null, { role: "listbox", hidden: "" })
    for (const [name, value] of [["role", "combobox"], ["aria-expanded", "false"], ["aria-autocomplete", "list"]]) {
      this.input.setAttribute(name, value)
    }
    const label = labelled(this.input)
    label.classList.add("search")
    label.append(this.found)
    this.input.oninput = () => this.list(0)
    this.input.onblur = () => this.close()
    this.input.onkeydown = event => this.handle(event)
    place.prepend(label)
  }

  handle(event) {
    if (isComposing(event)) return
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step) this.list(this.active + step)
    else if (event.key === "Enter") this.choose(this.matches?.[this.active])
    else if (event.key === "Escape") this.close()
    else return
    event.preventDefault()
  }

  list(active) {
    const wanted = this.input.value.trim().toLowerCase()
    const all = wanted ? this.match(wanted) : []
    this.matches = all.slice(0, MATCHES)
    this.active = Math.max(0, Math.min(active, this.matches.length - 1))
    this.found.replaceChildren(...this.matches.map((one, place) => {
      const item = make("li", place === this.active ? "active" : "", one.name, {
        role: "option", "aria-selected": String(place === this.active),
      })
      item.onpointerdown = event => { event.preventDefault(); this.choose(one) }
      return item
    }))
    if (all.length > MATCHES) {
      const words = `and ${(all.length - MATCHES).toLocaleString("en")} more; type more of the name`
      this.found.append(make("li", "more quiet", words, { role: "presentation" }))
    }
    this.found.hidden = !this.matches.length
    this.input.setAttribute("aria-expanded", String(!this.found.hidden))
  }

  // The name itself first, then names that begin with what was typed, then those that hold it.
  match(wanted) {
    const rank = ({ name, at }) => (name.length === wanted.length ? -1 : at)
    return this.names
      .map((name, label) => ({ name, label, at: name.toLowerCase().indexOf(wanted) }))
      .filter(one => one.at >= 0 && one.label !== this.given())
      .sort((one, other) => rank(one) - rank(other))
  }

  close() {
    this.input.value = ""
    this.matches = []
    this.found.hidden = true
    this.input.setAttribute("aria-expanded", "false")
  }

  choose(found) {
    const typed = this.input.value.trim()
    this.input.blur()
    if (found || typed) this.take(found, typed)
  }
}
