// What is decided about many at once, on its way to the server, one after the other, after `sender.js`.

const BATCHES = "tracin-batches"
const BATCH_PATIENCE = 120_000 // milliseconds; ten thousand examples take a second or two

const countOf = (number, word = "example") =>
  `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`

class BatchSender extends Sender {
  constructor() {
    super(BATCHES, BATCH_PATIENCE)
    this.done = [] // what can be taken back, the last one last
  }

  batch() {
    return this.entries.slice(0, 1)
  }

  async ask([entry]) {
    const path = entry.undoes ? "batches/undo" : "batches"
    const { answer, refusal } = await this.post(path, entry.body)
    const said = answer ?? { recorded: 0, isFault: true, message: refusal, refused: [], cards: [] }
    this.entries = this.entries.filter(one => one.token !== entry.token)
    if (!entry.undoes && said.recorded) this.done.push(entry)
    if (entry.undoes && !said.recorded) this.done.push(entry.undoes) // it still stands
    this.keep()
    this.listener?.answered(entry, said)
  }

  // The last that was decided in this project, taken off.
  takeLast(project) {
    const place = this.done.findLastIndex(one => one.body.project === project)
    return place < 0 ? null : this.done.splice(place, 1)[0]
  }

  last(project) {
    return this.done.findLast(one => one.body.project === project) ?? null
  }
}

// One for all pages of this tab.
const getBatchSender = () => {
  window.tracinBatches ??= new BatchSender()
  return window.tracinBatches
}
