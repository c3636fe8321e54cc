// The small parts that the review is made of. Whatever comes from data goes in as text nodes and
// attributes.

const make = (tag, className, text, attributes = {}) => {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== undefined && text !== null) node.textContent = text
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  return node
}

// Several lines of words, some of them emphasised.
const sentence = (words, className) => {
  const line = make("p", className)
  for (const [text, strong] of words) {
    line.append(strong ? make("strong", "", text) : document.createTextNode(text))
  }
  return line
}

const makeButton = (className, words, key, act) => {
  const button = make("button", className, null, { type: "button" })
  button.append(make("span", "words", words), make("kbd", "", key))
  button.onclick = event => {
    // A person who uses a pointer goes on with keys, which Enter is one of.
    if (event.detail > 0) button.blur()
    act(event)
  }
  return button
}

const makeField = (label, placeholder, most) =>
  make("input", "", null, {
    type: "text", "aria-label": label, placeholder, maxlength: most, autocomplete: "off",
  })

const labelled = field => {
  const label = make("label", "field")
  label.append(make("span", "quiet", field.getAttribute("aria-label")), field)
  return label
}
