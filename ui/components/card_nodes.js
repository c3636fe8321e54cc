// An example as a card, which is a real button. Data reaches the page as text nodes and attributes
// only, so nothing in a data set can become markup.

const element = (tag, className, text) => {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== undefined && text !== null) node.textContent = text
  return node
}

const picture = (card, data) => {
  const frame = element("span", "picture")
  const image = document.createElement("img")
  // What is made before it is shown must have its picture by then.
  image.loading = data.eager ? "eager" : "lazy"
  image.decoding = "async"
  image.width = data.imageSize
  image.height = data.imageSize
  image.alt = card.alt || ""
  image.src = card.image
  image.onerror = () => {
    frame.replaceChildren(element("span", "missing", "The picture cannot be shown"))
  }
  frame.append(image)
  return frame
}

const tags = items => {
  const row = element("span", "tags")
  for (const item of items) row.append(element("span", `tag ${item.tone || "plain"}`, item.text))
  return row
}

const fields = items => {
  const list = element("span", "fields")
  for (const item of items) {
    const field = element("span", item.differs ? "field differs" : "field")
    field.append(element("span", "name", item.name))
    field.append(element("span", "value", item.differs ? `≠ ${item.value}` : item.value))
    list.append(field)
  }
  return list
}

// Words that carry something: text nodes within elements of ours, as everything here.
const excerpt = pieces => {
  const text = element("span", "excerpt")
  for (const [words, grade] of pieces) {
    text.append(grade ? element("mark", `mark${grade}`, words) : document.createTextNode(words))
  }
  return text
}

const meter = fraction => {
  const track = element("span", "meter")
  track.setAttribute("aria-hidden", "true")
  const bar = element("span", "bar")
  bar.style.width = `${Math.round(100 * Math.min(1, Math.max(0, fraction)))}%`
  track.append(bar)
  return track
}

// What a card shows, picture first.
const fillCard = (open, card, data) => {
  if (card.image) open.append(picture(card, data))
  const body = element("span", "body")
  body.setAttribute("aria-hidden", "true")
  if (card.heading) body.append(element("span", "heading", card.heading))
  if (card.pieces && card.pieces.length) body.append(excerpt(card.pieces))
  else if (card.text) body.append(element("span", "excerpt", card.text))
  if (card.fields && card.fields.length) body.append(fields(card.fields))
  if (card.tags && card.tags.length) body.append(tags(card.tags))
  if (card.meta) body.append(element("span", "meta", card.meta))
  if (card.fraction !== undefined && card.fraction !== null) body.append(meter(card.fraction))
  open.append(body)
}

// An example that a message speaks of: its picture small, or its first words.
const showSmall = example => {
  const shown = element("span", "small-example")
  shown.dataset.id = example.id
  if (example.image) {
    const image = element("img")
    Object.assign(image, { width: 40, height: 40, alt: "", src: example.image })
    image.onerror = () => image.remove()
    shown.append(image)
  }
  shown.append(element("span", "small-words", example.words))
  return shown
}

const cardNode = (card, data, component) => {
  const item = element("li", "item")
  const open = element("button", card.current ? "card current" : "card")
  open.type = "button"
  // In words, for those who hear it; what is seen says the same in short.
  open.append(element("span", "spoken", card.label))
  open.dataset.id = card.id
  open.dataset.name = card.label
  if (card.current) open.setAttribute("aria-current", "true")
  fillCard(open, card, data)
  open.onclick = () => component.setTriggerValue("opened", card.id)
  item.append(open)
  if (card.action) {
    const act = element("button", "action", card.action.label)
    act.type = "button"
    act.setAttribute("aria-label", card.action.description)
    act.onclick = () => {
      act.disabled = true
      component.setTriggerValue("acted", { id: card.id, token: card.action.token })
    }
    item.append(act)
  }
  return item
}
