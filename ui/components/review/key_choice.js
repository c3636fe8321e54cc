// Which key does what: the usual ones, and those that a person has chosen instead, in this browser.
// The review thinks in usual keys; only what is pressed and what is shown is translated.

const OWN_KEYS = "tracin-keys"
const isLetter = key => /^\p{L}$/u.test(key)
const keyName = key => (key === "enter" ? "Enter" : key.toUpperCase())

// What another program or a person wrote there may be anything.
const readOwnKeys = () => {
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem(OWN_KEYS) ?? "{}"))
    return new Map(kept.filter(([usual, own]) => isLetter(usual) && typeof own === "string" && own))
  } catch {
    return new Map() // a storage that is closed to us keeps nothing, which `keep` says
  }
}

class KeyChoice {
  constructor() {
    this.own = readOwnKeys()
    this.keys = []
    this.elsewhere = []
  }

  // `keys` and `elsewhere` are pairs of a usual key and what it does, here and in other projects.
  setKeys(keys, elsewhere) {
    this.keys = keys
    this.elsewhere = elsewhere
  }

  reread() {
    this.own = readOwnKeys()
  }

  // The key to press for what is usually on this one.
  of(usual) {
    return this.own.get(usual) ?? usual
  }

  // What a pressed key usually is; nothing where its meaning was given to another key.
  usual(pressed) {
    for (const [usual, own] of this.own) if (own === pressed) return usual
    return this.own.has(pressed) ? "" : pressed
  }

  canChange(key) {
    return isLetter(key)
  }

  // Why a key cannot take what is on another one; nothing where it can.
  refusal(usual, wanted) {
    const name = keyName(wanted)
    if ([...wanted].length !== 1 || !wanted.trim()) return `${name} cannot be chosen. Press a letter or a sign.`
    if (wanted === "?") return "? shows the keys. Press another one."
    if (/^[-0-9]$/.test(wanted)) return `${name} names a class or begins a number. Press a letter or a sign.`
    for (const [list, where] of [[this.keys, ""], [this.elsewhere, ", in other projects"]]) {
      for (const [key, meaning] of list) {
        const other = key.toLowerCase()
        if (other === usual || !this.canChange(other) || this.of(other) !== wanted) continue
        return `${name} is the key to ${meaning}${where}. Press another one, or change that one first.`
      }
    }
    return ""
  }

  change(usual, wanted) {
    if (wanted === usual) this.own.delete(usual)
    else this.own.set(usual, wanted)
    return this.keep()
  }

  reset() {
    this.own.clear()
    return this.keep()
  }

  // Whether the browser keeps them beyond this page.
  keep() {
    try {
      if (this.own.size) localStorage.setItem(OWN_KEYS, JSON.stringify(Object.fromEntries(this.own)))
      else localStorage.removeItem(OWN_KEYS)
      return true
    } catch {
      return false
    }
  }
}
