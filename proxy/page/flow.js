// flow - a strip on which bytes move: sent ones to the right, received ones to the left.
//
// All strips share one animation loop, which runs only while something moves.

const TRAVEL_MS = 700;
const MOST_DOTS = 40;
const moving = new Set();
const still = matchMedia("(prefers-reduced-motion: reduce)");
let running = false;

function colour(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// Makes the canvas as sharp as the screen. Returns its context and its size in CSS pixels.
export function prepare(canvas) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const w = Math.round(width * scale), h = Math.round(height * scale);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function tick(now) {
  for (const flow of moving) if (!flow.step(now)) moving.delete(flow);
  running = moving.size > 0;
  if (running) requestAnimationFrame(tick);
}

function start() {
  if (running) return;
  running = true;
  requestAnimationFrame(tick);
}

export class Flow {
  #dots = [];
  #resizing;

  // ways: "both", "out" or "in": which tracks there are.
  constructor(canvas, ways = "both") {
    this.canvas = canvas;
    this.ways = ways;
    this.#resizing = new ResizeObserver(() => this.redraw());
    this.#resizing.observe(canvas);
  }

  // Something of this many bytes goes "out" or "in". arrived() is called when it is there.
  push(way, bytes, arrived) {
    if (still.matches || document.hidden || this.#dots.length >= MOST_DOTS) {
      arrived?.();
      return;
    }
    this.#dots.push({ way, radius: Math.min(6, 2.4 + Math.log10(bytes + 1) * 0.6), since: 0, arrived });
    moving.add(this);
    start();
  }

  redraw() {
    this.#draw(performance.now());
  }

  end() {
    this.#resizing.disconnect();
    moving.delete(this);
  }

  step(now) {
    for (const dot of this.#dots) {
      dot.since ||= now;
      if (now - dot.since >= TRAVEL_MS) dot.done = true;
    }
    const arrived = this.#dots.filter((dot) => dot.done);
    this.#dots = this.#dots.filter((dot) => !dot.done);
    this.#draw(now);
    for (const dot of arrived) dot.arrived?.();
    return this.#dots.length > 0;
  }

  #draw(now) {
    const { context: c, width, height } = prepare(this.canvas);
    if (width === 0) return;
    const middle = height / 2;
    const apart = this.ways === "both" ? Math.min(7, height / 4) : 0;
    const tracks = { out: middle - apart, in: middle + apart };
    const line = colour(this.canvas, "--track");
    for (const way of ["out", "in"]) {
      if (this.ways !== "both" && this.ways !== way) continue;
      c.strokeStyle = line;
      c.lineWidth = 2;
      c.lineCap = "round";
      c.beginPath();
      c.moveTo(6, tracks[way]);
      c.lineTo(width - 6, tracks[way]);
      c.stroke();
      const tip = way === "out" ? width - 5 : 5, back = way === "out" ? -5 : 5;
      c.beginPath();
      c.moveTo(tip + back, tracks[way] - 3.5);
      c.lineTo(tip, tracks[way]);
      c.lineTo(tip + back, tracks[way] + 3.5);
      c.stroke();
    }
    const colours = { out: colour(this.canvas, "--out"), in: colour(this.canvas, "--in") };
    for (const dot of this.#dots) {
      const part = Math.min(1, (now - dot.since) / TRAVEL_MS);
      const eased = part < 0.5 ? 2 * part * part : 1 - 2 * (1 - part) * (1 - part);
      const x = 8 + (width - 16) * (dot.way === "out" ? eased : 1 - eased);
      c.globalAlpha = Math.min(1, 4 * part, 4 * (1 - part) + 0.3);
      c.fillStyle = colours[dot.way];
      c.beginPath();
      c.arc(x, tracks[dot.way] ?? middle, dot.radius, 0, 2 * Math.PI);
      c.fill();
    }
    c.globalAlpha = 1;
  }
}
