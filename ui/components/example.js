// One example, large: its picture or its whole text. The text goes in as a text node.

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
    text.textContent = data.text
    parts.push(text)
  }
  // A new element, not a new source: the old picture must not stand beside the new number.
  root.replaceChildren(...parts)
  root.dataset.exampleId = data.id
  root.dataset.version = data.version
}
