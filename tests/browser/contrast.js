// Returns every text on the page whose contrast with its ground is below the limit: the text, the
// ratio, and both colours. WCAG 2.2, 1.4.3; what is disabled or only drawn is exempt there.
limit => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true })
  const known = new Map() // few colours, each of which is drawn to be read
  const read = colour => {
    if (!known.has(colour)) known.set(colour, draw(colour))
    return [...known.get(colour)]
  }
  const draw = colour => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data
    return [red, green, blue, alpha / 255]
  }
  const blend = (top, below) =>
    [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat([1])
  const parts = node => {
    const found = []
    for (let one = node; one; one = one.parentElement || one.getRootNode().host) found.push(one)
    return found
  }
  const ground = node =>
    parts(node)
      .map(one => read(getComputedStyle(one).backgroundColor))
      .reduceRight((below, top) => blend(top, below), [255, 255, 255, 1])
  const opacity = node =>
    parts(node).reduce((all, one) => all * Number(getComputedStyle(one).opacity), 1)
  const luminance = colour => {
    const [red, green, blue] = colour.slice(0, 3).map(value => {
      const share = value / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const found = []
  const visit = root => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) visit(node.shadowRoot)
      const text = [...node.childNodes]
        .filter(child => child.nodeType === Node.TEXT_NODE)
        .map(child => child.textContent.trim())
        .join("")
      const box = node.getBoundingClientRect()
      if (!/[\p{L}\p{N}]/u.test(text) || !box.width || !box.height) continue
      if (node.closest("style, script, :disabled, [aria-disabled=true]")) continue
      // Words of a chart lie on the page's ground; those upon its marks have a test of their own.
      const drawn = node.closest("svg")
      if (drawn && (!node.closest("text") || node.closest(".textpoint, .bartext, .sankey"))) continue
      const behind = ground(drawn ?? node)
      const ink = read(drawn ? getComputedStyle(node).fill : getComputedStyle(node).color)
      ink[3] *= opacity(node)
      const seen = blend(ink, behind)
      const [light, dark] = [luminance(seen), luminance(behind)].sort((a, b) => b - a)
      const ratio = (light + 0.05) / (dark + 0.05)
      if (ratio < limit) found.push([text.slice(0, 40), ratio, String(seen), String(behind)])
    }
  }
  visit(document)
  return found
}
