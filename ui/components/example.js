// One example, large: its picture, its whole text, or its row. All text goes in as text nodes.

const table = fields => {
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

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".example")
  if (!root) return
  // The next picture is fetched while this one is looked at.
  if (data.following) new Image().src = data.following
  if (root.dataset.shown === data.fingerprint) return
  root.dataset.shown = data.fingerprint
  const parts = []
  if (data.image) {
    const image = document.createElement("img")
    image.alt = data.alt
    image.src = data.image
    image.onerror = () => {
      const line = document.createElement("p")
      line.className = "missing"
      line.textContent = "The picture cannot be shown: its file is missing or damaged."
      image.replaceWith(line)
    }
    parts.push(image)
  }
  if (data.text) {
    const text = document.createElement("p")
    text.className = "text"
    text.dir = "auto"
    // Some words may be marked; whatever the text holds, it goes in as text nodes.
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
    parts.push(text)
  }
  if (data.fields.length) parts.push(table(data.fields))
  // A new element, not a new source: the old picture must not stand beside the new number.
  root.replaceChildren(...parts)
  root.dataset.exampleId = data.id
  root.dataset.version = data.version
}
