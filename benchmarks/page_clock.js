// Tells in which frame something could first be seen, by the browser's own clock.

const roots = [document]
const attach = Element.prototype.attachShadow
Element.prototype.attachShadow = function (...options) {
  const root = attach.apply(this, options)
  roots.push(root)
  return root
}

// Pages within the app are reached by a click; others by the navigation, at 0.
let begun = 0
addEventListener("click", event => { begun = event.timeStamp }, true)

const isSeen = node => node.checkVisibility() && node.getBoundingClientRect().height > 0

// Milliseconds since the beginning in the first frame with such a node, else false.
window.waited = selector =>
  roots.some(root => [...root.querySelectorAll(selector)].some(isSeen))
  && performance.now() - begun
