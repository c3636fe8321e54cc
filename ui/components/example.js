// One example of a page, after `example_nodes.js`.

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".example")
  if (!root) return
  if (root.dataset.shown === data.fingerprint) return
  root.dataset.shown = data.fingerprint
  // A new element, not a new source: the old picture must not stand beside the new number.
  root.replaceChildren(...exampleNodes(data))
  root.dataset.exampleId = data.id
  root.dataset.version = data.version
}
