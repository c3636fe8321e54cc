// Small things that a browser remembers: a size, a place. Where it keeps nothing, nothing but these
// is lost.

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
    // A size or a place that would have been kept.
  }
}
