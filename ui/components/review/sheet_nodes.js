// A suspect as it is shown: its example, what is said of it, and the cards beside it. It is built
// before it is shown, with its pictures.

const CARD_IMAGE = 56 // CSS pixels

const sheetNodes = (sheet, told, opener) => {
  const example = exampleNodes(sheet)
  const badges = make("div", "badges")
  for (const one of sheet.badges) badges.append(make("span", `tag ${one.tone}`, one.text))
  const said = make("div", "said")
  if (sheet.said.length) said.append(sentence(sheet.said))
  for (const line of sheet.lines) said.append(make("p", "quiet", line))
  for (const line of [sheet.source, sheet.marking, sheet.fault]) {
    if (line) said.append(make("p", "quiet", line))
  }
  const troubles = sheet.troubles.filter(one => !told.includes(one))
  for (const words of troubles) said.append(make("p", "trouble", words))
  if (troubles.length) said.append(make("p", "quiet", "Decisions can be made without it. Score again on Runs."))
  return { example, badges, said, sides: sheet.sides.map(side => sideNode(side, sheet, opener)) }
}

const sideNode = (side, sheet, opener) => {
  const column = make("section", "side")
  const heading = make("h2", "", side.speaks)
  heading.title = side.speaks
  column.append(heading, make("p", "quiet", `${side.name}. ${side.caption}`))
  const kind = sheet.image ? "" : sheet.fields.length ? " rows" : " texts"
  const list = make("ul", `cards compact${kind}`, null, { "aria-label": side.name })
  list.style.setProperty("--image-size", `${CARD_IMAGE}px`)
  const settings = { imageSize: CARD_IMAGE, eager: true }
  list.append(...side.cards.map(card => cardNode(card, settings, opener)))
  column.append(list)
  return column
}
