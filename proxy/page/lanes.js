// lanes - the list of streams, each with its strip, its counts and its last words.

import { Flow } from "./flow.js";

const MOST_LANES = 40;
const MOST_FINISHED = 12;
const RESET_CODE = 42;
const list = document.getElementById("lanes");
const empty = document.getElementById("lanes-empty");
const template = document.getElementById("lane-template");
const kinds = {
  bidi: { arrow: "⇄", words: "both ways", ways: "both" },
  out: { arrow: "→", words: "one way", ways: "out" },
  in: { arrow: "←", words: "one way", ways: "in" },
};

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB"];
  let value = bytes / 1000, unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

// The beginning of what was said, if it is text.
export function preview(bytes) {
  try {
    const text = decoder.decode(bytes.length > 400 ? bytes.subarray(0, 400) : bytes).trim();
    return /[\u0000-\u0008\u000e-\u001f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function shorten(text, most = 160) {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

function finishedLanes() {
  return [...list.querySelectorAll('.lane:not([data-state="open"])')];
}

function remove(lane) {
  lane.flow?.end();
  lane.remove();
  empty.hidden = list.children.length > 0;
}

export function clearFinished() {
  finishedLanes().forEach(remove);
}

// Newest first; the oldest finished ones go when there are many.
function insert(lane) {
  list.prepend(lane);
  empty.hidden = true;
  const finished = finishedLanes();
  finished.slice(MOST_FINISHED).forEach(remove);
  while (list.children.length > MOST_LANES) remove(list.lastElementChild);
}

function stateWords(channel) {
  if (channel.sending === "reset" || channel.receiving === "reset")
    return channel.code === null ? "broken off" : `reset, code ${channel.code}`;
  if (!channel.open) return "finished";
  if (channel.sending === "ended") return "listening";
  if (channel.receiving === "ended") return "only sending";
  return "open";
}

export class Lane {
  #quotes = { out: "", in: "" };

  // told(way, bytes) hears of everything that moves. With talk, the lane has a field to type in.
  constructor(channel, { told, talk = false, quiet = false } = {}) {
    const node = template.content.firstElementChild.cloneNode(true);
    const kind = kinds[channel.kind];
    const pick = (selector) => node.querySelector(selector);
    this.channel = channel;
    this.node = node;
    pick(".kind").textContent = kind.arrow;
    pick("b").textContent = `Stream ${channel.number}`;
    pick("small").textContent = `by ${channel.opener === "you" ? "you" : "the application"}`;
    node.setAttribute("aria-label", `Stream ${channel.number}, ${kind.words}`);
    node.flow = this.flow = new Flow(pick("canvas"), kind.ways);
    this.form = pick("form");
    this.form.hidden = !talk;
    this.#listen(told, quiet);
    if (talk) this.#enableTalk();
    insert(node);
    this.update();
  }

  #listen(told, quiet) {
    const moved = (way, bytes) => {
      this.flow.push(way, bytes.length);
      told?.(way, bytes.length);
      if (!quiet) this.#quote(way, bytes);
      this.update();
    };
    this.channel.handlers = {
      sent: (bytes) => moved("out", bytes),
      received: (bytes) => moved("in", bytes),
      changed: () => this.update(),
    };
  }

  #quote(way, bytes) {
    const text = preview(bytes);
    if (text) this.#quotes[way] = shorten(text);
    const p = this.node.querySelector(".lane-text");
    p.replaceChildren();
    for (const side of ["out", "in"]) {
      if (!this.#quotes[side]) continue;
      const span = document.createElement("span");
      span.className = side;
      span.textContent = this.#quotes[side];
      p.append(span);
    }
  }

  // Words of the page itself about this stream.
  note(text) {
    this.node.querySelector(".lane-text").textContent = text;
  }

  #enableTalk() {
    const input = this.form.querySelector("input");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value) this.channel.write(input.value).catch(() => {});
      input.value = "";
    });
    this.form.querySelector(".finish").addEventListener("click", () => this.channel.finish().catch(() => {}));
    this.form.querySelector(".reset").addEventListener("click", () => this.channel.reset(RESET_CODE));
  }

  update() {
    const { channel, node } = this;
    const words = stateWords(channel);
    node.dataset.state = channel.open ? "open" : words === "finished" ? "finished" : "broken";
    node.querySelector(".lane-state").textContent = words;
    node.querySelector(".lane-count .out").textContent = channel.kind === "in" ? "" : size(channel.sent);
    node.querySelector(".lane-count .in").textContent = channel.kind === "out" ? "" : size(channel.received);
    if (channel.sending !== "open") this.form.hidden = true;
  }
}

// One lane for many streams: a cell each, which fills when its answer is complete.
export class BurstLane {
  constructor(count) {
    const node = template.content.firstElementChild.cloneNode(true);
    node.classList.add("burst");
    node.querySelector(".kind").textContent = "▦";
    node.querySelector("b").textContent = `${count} streams`;
    node.querySelector("small").textContent = "at the same time";
    node.querySelector("canvas").remove();
    this.cells = document.createElement("div");
    this.cells.className = "cells";
    this.cells.setAttribute("aria-hidden", "true");
    for (let i = 0; i < count; i++) this.cells.append(document.createElement("i"));
    node.querySelector(".lane-name").after(this.cells);
    this.node = node;
    insert(node);
    this.say("opening", "open");
  }

  mark(index, state) {
    this.cells.children[index].className = state; // "asked", "answered" or "failed"
  }

  say(words, state, text = "") {
    this.node.dataset.state = state;
    this.node.querySelector(".lane-state").textContent = words;
    this.node.querySelector(".lane-text").textContent = text;
  }
}
