// The field for another number, of a project with numbers.

// As `read_number` of the server, which decides: what neither can read is told before it is sent.
const isNumber = typed => {
  let text = typed.trim().replaceAll("−", "-").replace(/[\u00a0\u202f _']/g, "")
  const [whole, ...rest] = text.split(",")
  if (rest.length === 1 && !text.includes(".") && rest[0].length !== 3) text = `${whole}.${rest[0]}`
  text = text.replaceAll(",", "")
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text))
}

class NumberField {
  // `take` is told what was typed.
  constructor(place, take) {
    this.input = makeField("New value", "", 40)
    const set = () => {
      const typed = this.input.value
      this.input.blur()
      take(typed)
    }
    this.input.onkeydown = event => {
      if (event.key === "Enter" && !isComposing(event)) set()
    }
    place.prepend(labelled(this.input), makeButton("", "Set value", "Enter", set))
  }

  show(sheet) {
    this.input.value = ""
    this.input.placeholder = sheet?.givenValue ?? ""
  }
}
