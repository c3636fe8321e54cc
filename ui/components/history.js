// What counts as a step of the browser's Back. Streamlit adds one whenever a page writes into the
// address, so that every filter would have to be gone back through. A step is another page, or
// another example to look at; everything else that a page writes about itself replaces.

// Opening another page, Streamlit writes that page's query into this page's address first, and the
// other path some milliseconds later. An example that a person leaves for another page within this
// time cannot be told from that, and is no step.
const SWITCH_MILLISECONDS = 1000

const lastPart = url => url.pathname.split("/").pop()

const isStep = (from, to, steps) => {
  const name = steps[lastPart(to)]
  const wanted = name && to.searchParams.get(name)
  return Boolean(wanted) && wanted !== from.searchParams.get(name)
}

const install = settings => {
  const push = history.pushState.bind(history)
  let written = null // what stood in the address before this page's last own entry
  const openPage = (from, address) => {
    const recent = written && performance.now() - written.at < SWITCH_MILLISECONDS
    if (!recent || written.search !== from.search) return push({}, "", address)
    if (written.pushed) return history.replaceState({}, "", address)
    history.replaceState({}, "", written.before)
    push({}, "", address)
  }
  history.pushState = (state, title, address) => {
    const from = new URL(location.href)
    const to = new URL(address ?? from.href, from)
    if (from.pathname !== to.pathname) {
      openPage(from, to.href)
      written = null
      return
    }
    const pushed = isStep(from, to, settings.steps)
    written = { before: from.href, search: to.search, at: performance.now(), pushed }
    if (pushed) push(state, title, address)
    else history.replaceState(state, title, address)
  }
}

const settings = { steps: {} }

export default function (component) {
  settings.steps = component.data.steps
  // One history is there for all pages, and this may be drawn more than once.
  if (!history.tracinSteps) install(settings)
  history.tracinSteps = true
}
