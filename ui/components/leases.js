// What lies on this screen is held for its person: nobody else is handed it. The server holds it for
// two minutes, so it is told from time to time that the screen is still there, and when it goes.

const RENEW = 40_000 // milliseconds; three times in a lease
const LOOK_FOR_OTHERS = 10_000 // milliseconds until it is asked whether others have given any back

class Leases {
  constructor(review) {
    this.review = review
    this.known = new Set()
    this.withOthers = 0
    this.timer = setInterval(() => this.renew(), RENEW)
    this.leave = () => this.giveBack({ gone: true })
    this.look = () => document.visibilityState === "visible" && this.renew()
    addEventListener("pagehide", this.leave)
    document.addEventListener("visibilitychange", this.look)
  }

  held() {
    return [this.review.current, ...this.review.ahead].filter(Boolean).map(one => one.id)
  }

  post(renew, release, more = {}) {
    const { project, reviewer, screen } = this.review.data
    return fetch(new URL("leases", document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ project, reviewer, screen, renew, release, ...more }),
      keepalive: true, // so that it arrives though the page is gone
    })
  }

  async renew() {
    // While suspects are on their way, the server knows more than this screen.
    if (this.review.isAsking || !this.review.data) return
    const held = this.held()
    const release = [...this.known].filter(id => !held.includes(id))
    if (!held.length && !release.length) return
    try {
      const response = await this.post(held, release)
      if (!response.ok) return
      this.known = new Set(held)
      this.review.dropChanged((await response.json()).lost)
    } catch {
      // The review says that the server does not answer; this is tried again at its time.
    }
  }

  // With the page also goes what is on its way to it, which it cannot name.
  giveBack(more = {}) {
    const release = [...new Set([...this.known, ...this.held()])]
    this.known.clear()
    // Nobody is left to be told; what is not given back comes back by itself.
    if (release.length || this.review.isAsking) this.post([], release, more).catch(() => {})
  }

  // Where nothing is left, others may still give back what they hold.
  waitForOthers(count = 0) {
    this.withOthers = count
    clearTimeout(this.again)
    if (!count) return
    this.again = setTimeout(() => {
      this.review.isExhausted = false
      this.review.askAhead()
    }, LOOK_FOR_OTHERS)
  }

  describe() {
    const count = this.withOthers
    const [what, come] = count === 1 ? ["1 more is", "It comes"] : [`${count} more are`, "They come"]
    return `${what} with others. ${come} back in two minutes at the latest, unless decided by then.`
  }

  stop() {
    this.giveBack()
    clearInterval(this.timer)
    clearTimeout(this.again)
    removeEventListener("pagehide", this.leave)
    document.removeEventListener("visibilitychange", this.look)
  }
}
