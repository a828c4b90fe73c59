// app - the page: tabs, each with a terminal and a shell on a stream of its own.

import { element, explain, start } from "./page/page.js";
import { EndOfStream } from "./sluice/sluice.js";
import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";
import { Shell } from "./shell.js";

const $ = (id) => document.getElementById(id);
const OPTIONS = {
  cursorBlink: true,
  fontFamily: 'ui-monospace, "SF Mono", "Cascadia Code", "DejaVu Sans Mono", monospace',
  fontSize: 14,
  scrollback: 5000,
  theme: {
    background: "#10161d", foreground: "#dbe5ee", cursor: "#5aaeff", selectionBackground: "#2b4a6b",
    black: "#1b2530", red: "#ff7288", green: "#3dd0a4", yellow: "#f0b055",
    blue: "#5aaeff", magenta: "#c79bff", cyan: "#57d3e5", white: "#dbe5ee",
    brightBlack: "#66788a", brightRed: "#ff95a5", brightGreen: "#70e5c1", brightYellow: "#ffcb85",
    brightBlue: "#8cc7ff", brightMagenta: "#dcc0ff", brightCyan: "#8ae6f2", brightWhite: "#ffffff",
  },
};

const tabs = [];
let current = null, opened = 0;

class Tab {
  constructor(stream) {
    this.shell = new Shell(stream);
    this.terminal = new Terminal(OPTIONS);
    this.fit = new FitAddon();
    this.terminal.loadAddon(this.fit);
    this.screen = element("div", "screen");
    this.head = element("div", "tab");
    this.title = element("button", "", `shell ${++opened}`);
    this.title.setAttribute("role", "tab");
    const close = element("button", "close", "×");
    close.setAttribute("aria-label", "Close this shell");
    this.head.append(this.title, close);
    $("tabs").append(this.head);
    $("screens").append(this.screen);
    this.title.addEventListener("click", () => select(this));
    close.addEventListener("click", () => this.close());
  }

  // The terminal finds its size first, so that the shell begins with it.
  async run() {
    const { shell, terminal } = this;
    terminal.open(this.screen);
    terminal.onTitleChange((title) => { this.title.textContent = title; });
    terminal.onData((text) => this.hand(shell.type(text)));
    terminal.onBinary((text) => this.hand(shell.type(text)));
    terminal.onResize(({ rows, cols }) => this.hand(shell.resize(rows, cols)));
    this.fit.fit();
    await shell.resize(terminal.rows, terminal.cols);
    const status = await shell.run((bytes) => new Promise((shown) => terminal.write(bytes, shown)));
    this.end(status ? `The shell has ended with status ${status}.` : "The shell has ended.");
  }

  // What goes wrong with writing is told by reading.
  hand(written) {
    written.catch(() => {});
  }

  end(text) {
    this.head.dataset.ended = "";
    this.terminal.options.cursorBlink = false;
    this.terminal.write(`\r\n\x1b[2m${text}\x1b[0m\r\n`);
  }

  close() {
    this.shell.close();
    this.closed = true;
    const at = tabs.indexOf(this);
    tabs.splice(at, 1);
    this.head.remove();
    this.screen.remove();
    this.terminal.dispose();
    if (this === current) select(tabs[Math.min(at, tabs.length - 1)] ?? null);
  }
}

function select(tab) {
  current = tab;
  for (const each of tabs) {
    const on = each === tab;
    each.head.toggleAttribute("data-on", on);
    each.screen.toggleAttribute("data-on", on);
    each.title.setAttribute("aria-selected", String(on));
  }
  if (!tab) return;
  tab.fit.fit();
  tab.terminal.focus();
}

const { session } = await start();

async function open() {
  const tab = new Tab(await session.open());
  tabs.push(tab);
  const running = tab.run();
  select(tab);
  try {
    await running;
  } catch (error) {
    if (tab.closed) return;
    tab.end(error instanceof EndOfStream ? "The shell is gone." : error.message);
  }
}

$("new").addEventListener("click", () => open().catch(explain));
new ResizeObserver(() => current?.fit.fit()).observe($("screens"));
await open();
