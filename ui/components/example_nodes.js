// One example, large: its picture, its whole text, or its row. All text goes in as text nodes.

const tableNode = fields => {
  const rows = document.createElement("table")
  rows.className = "row"
  for (const [name, value] of fields) {
    const line = rows.insertRow()
    const head = document.createElement("th")
    head.scope = "row"
    head.textContent = name
    line.append(head)
    line.insertCell().textContent = value
  }
  return rows
}

const largePicture = data => {
  const image = document.createElement("img")
  image.alt = data.alt
  image.src = data.image
  if (data.pixels) image.dataset.pixels = data.pixels
  image.onerror = () => {
    const line = document.createElement("p")
    line.className = "missing"
    line.textContent = "The picture cannot be shown: its file is missing or damaged."
    image.replaceWith(line)
  }
  return image
}

// Some words may be marked; whatever the text holds, it goes in as text nodes.
const wholeText = data => {
  const text = document.createElement("p")
  text.className = "text"
  text.dir = "auto"
  for (const [words, grade] of data.pieces.length ? data.pieces : [[data.text, 0]]) {
    const node = document.createTextNode(words)
    if (!grade) {
      text.append(node)
      continue
    }
    const mark = document.createElement("mark")
    mark.className = `mark${grade}`
    mark.append(node)
    text.append(mark)
  }
  return text
}

const exampleNodes = data => {
  const parts = []
  if (data.image) parts.push(largePicture(data))
  if (data.text) parts.push(wholeText(data))
  if (data.fields.length) parts.push(tableNode(data.fields))
  return parts
}
