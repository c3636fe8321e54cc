// Presses on their way to the server, in their order. They are kept in this tab until each has been
// answered, so that a reload, a lost connection and a killed server lose none without a word. A
// press that is sent twice is recorded once: it carries a token.

const OUTBOX = "tracin-outbox"
const REFUSED = "tracin-refused" // while no review was there to say so
const AT_ONCE = 20 // presses a request
const PATIENCE = 30_000 // milliseconds until an answer is given up
const CHANGED = "tracin-outbox-changed" // an event of the window, for whoever says what waits
const PAUSES = [300, 700, 1500, 3000] // milliseconds between attempts

// crypto.randomUUID is there for https and this machine only.
const makeToken = () =>
  [...crypto.getRandomValues(new Uint8Array(16))]
    .map(byte => byte.toString(16).padStart(2, "0"))
    .join("")

const readKept = name => {
  try {
    const kept = JSON.parse(sessionStorage.getItem(name) ?? "[]")
    return Array.isArray(kept) ? kept.filter(one => typeof one?.token === "string") : []
  } catch {
    return [] // a storage that is closed to us keeps nothing, which `isKept` says
  }
}

class Outbox {
  constructor() {
    this.entries = readKept(OUTBOX)
    this.refused = readKept(REFUSED)
    this.isKept = true
    this.isSending = false
    this.oneByOne = false
    this.failures = 0
    this.trouble = ""
    this.timer = 0
    // Whoever shows the review: told of each answer, and of every change.
    this.listener = null
    this.address = new URL("decisions", document.baseURI).href
    addEventListener("online", () => this.send())
    document.addEventListener("visibilitychange", () => this.send())
    addEventListener("beforeunload", event => {
      // A reload keeps them; a tab that is closed while nobody answers does not.
      if (this.entries.length && this.failures) event.preventDefault()
    })
  }

  add(entry) {
    this.entries.push(entry)
    this.keep()
    this.send()
  }

  keep() {
    try {
      for (const [name, kept] of [[OUTBOX, this.entries], [REFUSED, this.refused]]) {
        if (kept.length) sessionStorage.setItem(name, JSON.stringify(kept))
        else if (sessionStorage.getItem(name) !== null) sessionStorage.removeItem(name)
      }
      this.isKept = true
    } catch {
      this.isKept = false
    }
    this.announce()
  }

  announce() {
    this.listener?.changed()
    dispatchEvent(new Event(CHANGED))
  }

  has(exampleId, project) {
    return this.entries.some(one => one.example === exampleId && one.project === project)
  }

  // The first of them that one question can carry: those of one project.
  batch() {
    const [first] = this.entries
    const most = this.oneByOne ? 1 : AT_ONCE
    const end = this.entries.findIndex(one => one.project !== first.project)
    return this.entries.slice(0, Math.min(most, end < 0 ? most : end))
  }

  async send() {
    if (this.isSending || !this.entries.length) return
    clearTimeout(this.timer)
    this.isSending = true
    const batch = this.batch()
    try {
      await this.ask(batch)
    } catch (error) {
      // The network's own words differ from browser to browser, and name addresses.
      this.fail(error instanceof ServerFault ? error.message : "the server does not answer")
      return
    } finally {
      this.isSending = false
    }
    this.failures = 0
    this.trouble = ""
    this.announce()
    this.send()
  }

  async ask(batch) {
    const body = {
      project: batch[0].project,
      query: batch.at(-1).query,
      seen: this.listener?.seen() ?? {},
      presses: batch.map(({ query, sentence, change, ...press }) => press),
    }
    const response = await fetch(this.address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    })
    if (response.status >= 500) throw new ServerFault(`the server fails (${response.status})`)
    if (!response.ok) {
      const words = (await response.text()).slice(0, 500)
      // One of them may be the reason, and the others must not suffer from it.
      if (batch.length > 1) this.oneByOne = true
      else this.settle(batch[0], { recorded: false, is_fault: true, message: `Not recorded. ${words}` })
      return
    }
    const answer = await response.json()
    this.oneByOne = false
    const outcomes = new Map(answer.outcomes.map(one => [one.token, one]))
    for (const entry of batch) {
      const outcome = outcomes.get(entry.token)
      if (outcome) this.settle(entry, outcome)
    }
    this.listener?.counted(answer, batch[0].project)
  }

  settle(entry, outcome) {
    this.entries = this.entries.filter(one => one.token !== entry.token)
    if (!this.listener && !outcome.recorded) {
      this.refused.push({ ...entry, outcome: { ...outcome, sheet: null } })
    }
    this.keep()
    this.listener?.answered(entry, outcome)
  }

  // What was refused while another page was looked at, once.
  takeRefused() {
    const { refused } = this
    this.refused = []
    this.keep()
    return refused
  }

  fail(words) {
    this.trouble = words
    const pause = PAUSES[Math.min(this.failures, PAUSES.length - 1)]
    this.failures += 1
    this.timer = setTimeout(() => this.send(), pause)
    this.announce()
  }
}

class ServerFault extends Error {}

// One for all pages of this tab: what was pressed is sent on while another page is looked at.
const getOutbox = () => {
  window.tracinOutbox ??= new Outbox()
  return window.tracinOutbox
}
