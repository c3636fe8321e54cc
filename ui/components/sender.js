// What is on its way to the server, in its order. It is kept in this tab until it has been answered,
// so that a reload, a lost connection and a killed server lose nothing without a word; sent twice, it
// is recorded once, because it carries a token. `outbox.js` sends the presses of the review so, and
// `grid/batches.js` what is decided about many at once.

const PAUSES = [300, 700, 1500, 3000] // milliseconds between attempts

// crypto.randomUUID is there for https and this machine only.
const makeToken = () =>
  [...crypto.getRandomValues(new Uint8Array(16))]
    .map(byte => byte.toString(16).padStart(2, "0"))
    .join("")

const readEntries = name => {
  try {
    const kept = JSON.parse(sessionStorage.getItem(name) ?? "[]")
    return Array.isArray(kept) ? kept.filter(one => typeof one?.token === "string") : []
  } catch {
    return [] // a storage that is closed to us keeps nothing, which `isKept` says
  }
}

class Sender {
  // `name` is where the entries are kept, `patience` the milliseconds until an answer is given up.
  constructor(name, patience) {
    this.name = name
    this.patience = patience
    this.entries = readEntries(name)
    this.isKept = true
    this.isSending = false
    this.failures = 0
    this.trouble = ""
    this.timer = 0
    // Whoever shows what is sent: told of each answer, and of every change.
    this.listener = null
    addEventListener("online", () => this.send())
    document.addEventListener("visibilitychange", () => this.send())
    addEventListener("beforeunload", event => {
      // A reload keeps them; a tab that is closed while nobody answers does not.
      if (this.entries.length && this.failures) event.preventDefault()
    })
  }

  // What a subclass says: the entries of the next question, and what becomes of its answer.
  // batch() { … } async ask(batch) { … }

  // The lists that are kept, by their names.
  lists() {
    return { [this.name]: this.entries }
  }

  add(entry) {
    this.entries.push(entry)
    this.keep()
    this.send()
  }

  keep() {
    try {
      for (const [name, kept] of Object.entries(this.lists())) {
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
  }

  async send() {
    if (this.isSending || !this.entries.length) return
    clearTimeout(this.timer)
    this.isSending = true
    try {
      await this.ask(this.batch())
    } catch (error) {
      // The network's own words differ from browser to browser, and name addresses.
      this.fail(error instanceof ServerFault ? error.message : "the server does not answer")
      return
    } finally {
      this.isSending = false
    }
    this.announce()
    this.send()
  }

  // The server's answer, or in `refusal` why it takes nothing, which is an answer, too.
  async post(path, body) {
    const response = await fetch(new URL(path, document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(this.patience),
    })
    if (response.status >= 500) throw new ServerFault(`the server fails (${response.status})`)
    const found = response.ok
      ? { answer: await response.json() }
      : { refusal: `Not recorded. ${(await response.text()).slice(0, 500)}` }
    this.failures = 0
    this.trouble = ""
    return found
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
