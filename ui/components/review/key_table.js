// The keys, listed: below the suspect in a line, and on `?` as a table in which they can be changed.

const KEPT_HERE = "This browser keeps nothing: the keys hold until the page is loaded again."

class KeyTable {
  // `changed` is called when a key has another meaning.
  constructor(help, legend, choice, changed) {
    Object.assign(this, { help, legend, choice, changed })
    this.asking = null // the usual key that is to have another one
    this.told = make("p", "asked", null, { role: "status" })
    this.reset = make("button", "", "Reset to the usual keys", { type: "button" })
    this.reset.onclick = () => this.settle(choice.reset(), "All keys are the usual ones again.")
    this.lines = make("div", "lines")
    help.replaceChildren(this.lines, this.told, this.reset)
  }

  get isOpen() {
    return !this.help.hidden
  }

  toggle() {
    this.help.hidden = !this.help.hidden
    this.asking = null
    this.told.textContent = "A key that is a button can be changed: press it, then the new key."
    this.mark()
  }

  show() {
    const { keys } = this.choice
    const listed = keys.map(([key, meaning]) => [this.nameOf(key), meaning])
    const words = `Keys: ${listed.map(pair => pair.join(" ")).join(", ")}.`
    if (this.legend.textContent === words) return
    this.legend.textContent = words
    this.lines.replaceChildren(...keys.map(([key, meaning]) => this.lineOf(key, meaning)))
    this.reset.disabled = !this.choice.own.size
  }

  nameOf(key) {
    const usual = key.toLowerCase()
    return this.choice.canChange(usual) ? keyName(this.choice.of(usual)) : key
  }

  lineOf(key, meaning) {
    const line = make("p")
    const usual = key.toLowerCase()
    const name = this.nameOf(key)
    if (this.choice.canChange(usual)) {
      const button = make("button", "key", null, {
        type: "button", "aria-label": `${name}: change this key to ${meaning}`,
      })
      button.append(make("kbd", "", name))
      button.dataset.usual = usual
      button.onclick = () => this.ask(usual, meaning)
      line.append(button)
    } else line.append(make("kbd", "", name))
    line.append(document.createTextNode(` ${meaning}`))
    return line
  }

  ask(usual, meaning) {
    this.asking = usual
    this.told.textContent = `Press the key that is to ${meaning}; Escape leaves it as it is.`
    this.mark()
  }

  mark() {
    for (const button of this.lines.querySelectorAll("button")) {
      button.classList.toggle("asked", button.dataset.usual === this.asking)
    }
  }

  // Whether the press was an answer to what is asked.
  take(event) {
    if (this.asking === null || ["Shift", "Tab", "CapsLock", "Dead"].includes(event.key)) return false
    event.preventDefault()
    const usual = this.asking
    const wanted = event.key.toLowerCase()
    const why = wanted === "escape" ? "" : this.choice.refusal(usual, wanted)
    if (why) this.told.textContent = why
    else {
      this.asking = null
      if (wanted === "escape") this.told.textContent = "The key stays as it was."
      else this.settle(this.choice.change(usual, wanted), `${keyName(wanted)} it is, in this browser.`)
      this.lines.querySelector(`[data-usual="${usual}"]`)?.focus()
    }
    this.mark()
    return true
  }

  settle(isKept, words) {
    this.told.textContent = isKept ? words : KEPT_HERE
    this.asking = null
    this.show()
    this.changed()
  }
}
