// The presses of the review on their way to the server, several in a question, after `sender.js`.

const OUTBOX = "tracin-outbox"
const REFUSED = "tracin-refused" // while no review was there to say so
const AT_ONCE = 20 // presses a request
const PATIENCE = 30_000 // milliseconds until an answer is given up
const CHANGED = "tracin-outbox-changed" // an event of the window, for whoever says what waits

class Outbox extends Sender {
  constructor() {
    super(OUTBOX, PATIENCE)
    this.refused = readEntries(REFUSED)
    this.oneByOne = false
  }

  lists() {
    return { ...super.lists(), [REFUSED]: this.refused }
  }

  announce() {
    super.announce()
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

  async ask(batch) {
    const { answer, refusal } = await this.post("decisions", {
      project: batch[0].project,
      query: batch.at(-1).query,
      seen: this.listener?.seen() ?? {},
      presses: batch.map(({ query, sentence, change, ...press }) => press),
    })
    if (!answer) {
      // One of them may be the reason, and the others must not suffer from it.
      if (batch.length > 1) this.oneByOne = true
      else this.settle(batch[0], { recorded: false, is_fault: true, message: refusal })
      return
    }
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
}

// One for all pages of this tab: what was pressed is sent on while another page is looked at.
const getOutbox = () => {
  window.tracinOutbox ??= new Outbox()
  return window.tracinOutbox
}
