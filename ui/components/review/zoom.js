// The picture at its own pixels: Z or a click goes there and back, dragging and arrow keys move it.

const STEP = 120 // CSS pixels that an arrow key moves
const DRAG = 4 // CSS pixels after which a press with the pointer is no click
const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }

class Zoom {
  // `changed` is told whether the picture is at its pixels.
  constructor(stage, changed) {
    this.stage = stage
    this.changed = changed
    this.isOn = false
    this.from = null // where a pointer went down
    stage.addEventListener("pointerdown", event => this.grasp(event))
    stage.addEventListener("pointermove", event => this.drag(event))
    stage.addEventListener("pointerup", event => this.release(event))
    stage.addEventListener("pointercancel", () => (this.from = null))
    // A picture is dragged here, and not out of the window.
    stage.addEventListener("dragstart", event => event.preventDefault())
  }

  get image() {
    return this.stage.querySelector("img")
  }

  // Why there is nothing to zoom; nothing where there is.
  obstacle() {
    if (!this.image) return "no picture is shown"
    return this.image.complete && this.image.naturalWidth ? "" : "its picture is still loading"
  }

  toggle(event) {
    if (this.obstacle()) return
    const { image, stage } = this
    if (this.isOn) return this.leave()
    // The point under the pointer stays there.
    const box = stage.getBoundingClientRect()
    const at = event ? [event.clientX - box.left, event.clientY - box.top] : [box.width / 2, box.height / 2]
    const share = this.place(image, box, at)
    this.set(true)
    this.size(image, box)
    this.scroll(share, at)
    this.fetchPixels(image, box)
  }

  // Which part of the picture lies at a point of the stage, as shares of its width and height.
  place(image, box, [x, y]) {
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight)
    const share = [x / (image.naturalWidth * scale), y / (image.naturalHeight * scale)]
    return share.map(one => Math.min(1, Math.max(0, one)))
  }

  // Its own pixels, or as many times those as are needed to see more than before.
  size(image, box) {
    const fits = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight)
    const times = Math.max(1, Math.floor(fits) + 1)
    image.style.width = `${image.naturalWidth * times}px`
    image.style.height = `${image.naturalHeight * times}px`
  }

  scroll([across, down], [x, y]) {
    const { image, stage } = this
    stage.scrollLeft = across * image.offsetWidth - x
    stage.scrollTop = down * image.offsetHeight - y
  }

  // What is shown at first may be a smaller copy of a large photograph.
  fetchPixels(image, box) {
    const { pixels } = image.dataset
    if (!pixels) return
    const whole = new Image()
    whole.onload = () => {
      if (!this.isOn || this.image !== image || whole.naturalWidth <= image.naturalWidth) return
      const { stage } = this
      const middle = [stage.clientWidth / 2, stage.clientHeight / 2]
      const share = [
        (stage.scrollLeft + middle[0]) / image.offsetWidth, (stage.scrollTop + middle[1]) / image.offsetHeight,
      ]
      delete image.dataset.pixels
      image.onload = () => {
        if (!this.isOn || this.image !== image) return
        this.size(image, box)
        this.scroll(share, middle)
      }
      image.src = whole.src
    }
    whole.src = pixels
  }

  leave() {
    const { image } = this
    if (image) image.style.width = image.style.height = ""
    this.set(false)
  }

  set(isOn) {
    this.isOn = isOn
    this.stage.classList.toggle("zoomed", isOn)
    // What scrolls must be reached by keys.
    if (isOn) this.stage.setAttribute("tabindex", "0")
    else this.stage.removeAttribute("tabindex")
    this.changed(isOn)
  }

  // Whether the key moved the picture.
  move(key) {
    const step = this.isOn && ARROWS[key]
    if (!step) return false
    this.stage.scrollBy(step[0] * STEP, step[1] * STEP)
    return true
  }

  grasp(event) {
    if (event.button || event.target !== this.image) return
    const { scrollLeft, scrollTop } = this.stage
    this.from = { x: event.clientX, y: event.clientY, scrollLeft, scrollTop, moved: false }
    this.stage.setPointerCapture(event.pointerId)
  }

  drag(event) {
    const { from } = this
    if (!from) return
    const [x, y] = [event.clientX - from.x, event.clientY - from.y]
    from.moved ||= Math.hypot(x, y) > DRAG
    if (!this.isOn || !from.moved) return
    this.stage.scrollLeft = from.scrollLeft - x
    this.stage.scrollTop = from.scrollTop - y
  }

  release(event) {
    const { from } = this
    this.from = null
    if (from && !from.moved) this.toggle(event)
  }
}
