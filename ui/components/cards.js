// A grid or list of examples, after `card_nodes.js`.

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".cards")
  if (!root) return
  root.className = `cards ${data.layout}`
  root.style.setProperty("--image-size", `${data.imageSize}px`)
  root.setAttribute("aria-label", data.label)
  root.replaceChildren(...data.cards.map(card => cardNode(card, data, component)))
}
