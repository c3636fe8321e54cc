// What is decided about many at once, on its way to the server, in its order. It is kept in this tab
// until it has been answered, as the presses of the review are; sent twice, it is recorded once.

const BATCHES = "tracin-batches"
const BATCH_PATIENCE = 120_000 // milliseconds; ten thousand examples take a second or two
const BATCH_PAUSES = [300, 700, 1500, 3000]

const makeToken = () =>
  [...crypto.getRandomValues(new Uint8Array(16))]
    .map(byte => byte.toString(16).padStart(2, "0"))
    .join("")

const countOf = (number, word = "example") =>
  `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`

const readKept = (storage, name) => {
  try {
    return JSON.parse(storage.getItem(name) ?? "null")
  } catch {
    return null
  }
}

const keepIn = (storage, name, value) => {
  try {
    storage.setItem(name, JSON.stringify(value))
  } catch {
    // Nothing is lost but a place or a size that would have been kept.
  }
}

const readBatches = () => {
  try {
    const kept = JSON.parse(sessionStorage.getItem(BATCHES) ?? "[]")
    return Array.isArray(kept) ? kept.filter(one => typeof one?.body?.token === "string") : []
  } catch {
    return [] // a storage that is closed to us keeps nothing
  }
}

class BatchSender {
  constructor() {
    this.entries = readBatches()
    this.done = [] // what can be taken back, the last one last
    this.isSending = false
    this.failures = 0
    this.trouble = ""
    this.timer = 0
    this.listener = null
    addEventListener("online", () => this.send())
    document.addEventListener("visibilitychange", () => this.send())
    addEventListener("beforeunload", event => {
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
      if (this.entries.length) sessionStorage.setItem(BATCHES, JSON.stringify(this.entries))
      else sessionStorage.removeItem(BATCHES)
    } catch {
      // It is sent all the same; only a reload would lose it, which `beforeunload` asks about.
    }
    this.listener?.changed()
  }

  async send() {
    if (this.isSending || !this.entries.length) return
    clearTimeout(this.timer)
    this.isSending = true
    const [entry] = this.entries
    let answer = null
    try {
      answer = await this.ask(entry)
      this.failures = 0
      this.trouble = ""
    } catch (error) {
      this.failures += 1
      this.trouble = error instanceof BatchFault ? error.message : "the server does not answer"
      const pause = BATCH_PAUSES[Math.min(this.failures, BATCH_PAUSES.length) - 1]
      this.timer = setTimeout(() => this.send(), pause)
      this.listener?.changed()
      return
    } finally {
      this.isSending = false
    }
    this.entries.shift()
    if (!entry.undoes && answer.recorded) {
      this.done.push({ token: entry.body.token, project: entry.body.project, words: entry.words })
    }
    this.keep()
    this.listener?.answered(entry, answer)
    this.send()
  }

  // The answer, or why nothing was recorded, which is one too.
  async ask(entry) {
    const path = entry.undoes ? "batches/undo" : "batches"
    const response = await fetch(new URL(path, document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(entry.body),
      signal: AbortSignal.timeout(BATCH_PATIENCE),
    })
    if (response.status >= 500) throw new BatchFault(`the server fails (${response.status})`)
    if (response.ok) return response.json()
    const words = (await response.text()).slice(0, 500)
    return { recorded: 0, isFault: true, message: `Not recorded. ${words}`, refused: [], cards: [] }
  }

  // The last that was decided in this project, taken off.
  takeLast(project) {
    const place = this.done.findLastIndex(one => one.project === project)
    return place < 0 ? null : this.done.splice(place, 1)[0]
  }

  last(project) {
    return this.done.findLast(one => one.project === project) ?? null
  }
}

class BatchFault extends Error {}

// One for all pages of this tab.
const getBatchSender = () => {
  window.tracinBatches ??= new BatchSender()
  return window.tracinBatches
}
