// Returns what would mislead those who hear a page or speak to it: headings that leave out a level
// (WCAG 1.3.1), and names that do not hold the words that are seen (WCAG 2.5.3).
() => {
  const found = []
  let level = 0
  const words = text => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim()
  const seenWords = node =>
    [...node.childNodes]
      .map(child => {
        if (child.nodeType === Node.TEXT_NODE) return child.textContent
        if (child.nodeType !== Node.ELEMENT_NODE || child.getAttribute("aria-hidden") === "true") return ""
        return getComputedStyle(child).display === "none" ? "" : ` ${seenWords(child)} `
      })
      .join("")
  const visit = root => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) visit(node.shadowRoot)
      if (!node.checkVisibility()) continue
      const heading = /^H([1-6])$/.exec(node.tagName)
      if (heading) {
        if (level && Number(heading[1]) > level + 1) found.push([node.tagName, node.textContent.slice(0, 40)])
        level = Number(heading[1])
      }
      if (!node.matches("button[aria-label], a[aria-label]")) continue
      const [name, seen] = [words(node.getAttribute("aria-label")), words(seenWords(node))]
      // Icons are words of a font that draws them.
      if (node.querySelector("[data-testid=stIconMaterial]") || name.includes(seen)) continue
      found.push([node.tagName, name.slice(0, 60), seen.slice(0, 60)])
    }
  }
  visit(document)
  return found
}
