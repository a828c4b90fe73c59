// ping - datagrams out and back, their times, and the chart of them.

import { prepare } from "./flow.js";

const MARK = 0x534c5543; // tells our pings from other datagrams
const SHOWN = 120;
const LOST_AFTER_MS = 2000;

function nice(value) {
  for (let step = 0.5; ; step *= 10)
    for (const factor of [1, 2, 4, 10])
      if (value <= step * factor) return step * factor;
}

export function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export class Ping {
  #timer = null;
  #next = 0;

  // send(bytes) sends a datagram; changed() is called when there is something new to show.
  constructor(canvas, send, changed) {
    this.canvas = canvas;
    this.send = send;
    this.changed = changed;
    this.rows = []; // {number, at, rtt} with rtt null while on the way, Infinity when lost
    this.sent = this.lost = this.back = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get running() {
    return this.#timer !== null;
  }

  start(perSecond) {
    this.stop();
    this.#timer = setInterval(() => this.#one(), 1000 / perSecond);
    this.#one();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #one() {
    const bytes = new Uint8Array(8), view = new DataView(bytes.buffer), number = this.#next++;
    view.setUint32(0, MARK);
    view.setUint32(4, number);
    this.rows.push({ number, at: performance.now(), rtt: null });
    if (this.rows.length > SHOWN) this.rows.shift();
    this.sent++;
    this.send(bytes);
    this.#findLost();
    this.draw();
  }

  #findLost() {
    const now = performance.now();
    for (const row of this.rows)
      if (row.rtt === null && now - row.at > LOST_AFTER_MS) {
        row.rtt = Infinity;
        this.lost++;
        this.changed();
      }
  }

  // Returns false if the datagram is no ping of ours.
  receive(bytes) {
    if (bytes.length !== 8) return false;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (view.getUint32(0) !== MARK) return false;
    const row = this.rows.find((r) => r.number === view.getUint32(4));
    if (row && row.rtt === null) {
      row.rtt = performance.now() - row.at;
      this.back++;
      this.changed();
      this.draw();
    }
    return true;
  }

  summary() {
    const times = this.rows.map((r) => r.rtt).filter((t) => t !== null && t !== Infinity);
    if (times.length === 0) return null;
    const sorted = [...times].sort((a, b) => a - b);
    return { latest: times.at(-1), median: sorted[sorted.length >> 1], slowest: sorted.at(-1) };
  }

  draw() {
    const { context: c, width, height } = prepare(this.canvas);
    if (width === 0) return;
    const style = getComputedStyle(this.canvas);
    const [line, soft, good, bad] =
      ["--track", "--soft", "--in", "--bad"].map((name) => style.getPropertyValue(name).trim());
    const summary = this.summary();
    const left = 46, right = width - 4, top = 8, bottom = height - 8;
    const most = nice(Math.max(1, (summary?.slowest ?? 1) * 1.05));
    const y = (ms) => bottom - (bottom - top) * Math.min(1, ms / most);
    c.font = `11px ${style.fontFamily}`;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const part of [0, 0.5, 1]) {
      const at = Math.round(y(most * part)) + 0.5;
      c.strokeStyle = line;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(right, at);
      c.stroke();
      c.fillStyle = soft;
      c.fillText(part === 0 ? "0" : `${+(most * part).toFixed(2)} ms`, left - 7, at);
    }
    const step = (right - left) / SHOWN, wide = Math.max(1.5, step * 0.68);
    this.rows.forEach((row, index) => {
      if (row.rtt === null) return;
      const x = right - (this.rows.length - index) * step + (step - wide) / 2;
      c.fillStyle = row.rtt === Infinity ? bad : good;
      const from = row.rtt === Infinity ? top : Math.min(y(row.rtt), bottom - 2);
      c.globalAlpha = row.rtt === Infinity ? 0.55 : 1;
      c.fillRect(x, from, wide, bottom - from);
    });
    c.globalAlpha = 1;
    this.canvas.setAttribute("aria-label", summary
      ? `Round-trip times of the last ${this.rows.length} datagrams: median ${milliseconds(summary.median)}, slowest ${milliseconds(summary.slowest)}`
      : "Round-trip times: none measured yet");
  }
}
