// app - the page: commands on one stream, a subscription on another.

import { duration, element, explain, onSubmit, start } from "./page/page.js";
import { Redis, RedisError, splitWords } from "./resp.js";

const $ = (id) => document.getElementById(id);
const KEPT = 200; // entries of the lists
const typed = []; // commands, for the arrow keys
let recalled = 0;

const { session } = await start();
const commands = new Redis(await session.open());

// --- commands ---

// A reply as redis-cli shows it.
function format(reply, indent = "") {
  if (reply === null) return "(nil)";
  if (reply instanceof RedisError) return `(error) ${reply.message}`;
  if (typeof reply === "number") return `(integer) ${reply}`;
  if (!Array.isArray(reply)) return JSON.stringify(reply);
  if (!reply.length) return "(empty list)";
  return reply.map((part, i) => {
    const label = `${i + 1}) `;
    return (i ? indent : "") + label + format(part, indent + " ".repeat(label.length));
  }).join("\n");
}

function kindOf(reply) {
  if (reply === null) return "nothing";
  if (reply instanceof RedisError) return "error";
  return typeof reply === "number" ? "number" : "text";
}

function prepend(list, item) {
  list.prepend(item);
  while (list.children.length > KEPT) list.lastElementChild.remove();
}

async function send(line) {
  const words = splitWords(line);
  if (!words.length) return;
  if (/^(p?subscribe|monitor)$/i.test(words[0]))
    throw new Error("This stream is for commands with one reply. Subscribe on the right.");
  typed.push(line);
  recalled = typed.length;
  const since = performance.now();
  const [reply] = await commands.pipeline([words]);
  const item = document.createElement("li"), shown = element("pre", "reply", format(reply));
  shown.dataset.kind = kindOf(reply);
  item.append(element("span", "took", duration(performance.now() - since)), element("div", "asked", line), shown);
  prepend($("talk"), item);
  explain(null);
}

onSubmit($("command-form"), () => {
  const line = $("command").value;
  $("command").value = "";
  return send(line);
});
$("command").addEventListener("keydown", (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  recalled = Math.max(0, Math.min(typed.length, recalled + step));
  $("command").value = typed[recalled] ?? "";
});
$("ideas").addEventListener("click", (event) => {
  if (event.target.matches("button")) send(event.target.textContent).catch(explain);
});

// --- messages ---

let subscription = null;

async function subscribe(channel) {
  subscription?.reset();
  const stream = subscription = await session.open();
  const redis = new Redis(stream);
  $("subscribe").textContent = "Subscribing…";
  await redis.send("SUBSCRIBE", channel);
  await redis.reply();
  $("subscribe").textContent = "Subscribed";
  $("received").textContent = `listening to ${channel}`;
  $("messages").replaceChildren(element("li", "empty", "Nothing yet."));
  listen(redis).catch((error) => {
    if (stream !== subscription) return; // it was given up for another one
    $("subscribe").textContent = "Subscribe";
    explain(error, "The subscription has ended.");
  });
}

async function listen(redis) {
  for (;;) {
    const [kind, channel, text] = await redis.reply();
    if (kind !== "message") continue;
    $("messages").querySelector(".empty")?.remove();
    const item = document.createElement("li");
    item.append(element("time", "", new Date().toLocaleTimeString([], { hour12: false })),
      element("b", "", channel), element("span", "", text));
    prepend($("messages"), item);
  }
}

onSubmit($("subscribe-form"), () => subscribe($("channel").value));
$("channel").addEventListener("input", () => { $("subscribe").textContent = "Subscribe"; });
onSubmit($("publish-form"), async () => {
  const text = $("message").value || "Hello, everybody!";
  $("message").value = "";
  await commands.call("PUBLISH", $("channel").value, text);
  explain(null);
});

// --- pipeline ---

onSubmit($("pipeline-form"), async () => {
  const count = Number($("count").value), since = performance.now();
  $("pipeline").disabled = true;
  try {
    const replies = await commands.pipeline(Array.from({ length: count }, () => ["INCR", "pipeline"]));
    const took = performance.now() - since;
    const right = replies.every((reply, i) => reply === replies[0] + i);
    $("figures").hidden = false;
    $("figures").replaceChildren(element("b", "", `${replies.length} replies`), ` in ${duration(took)}, `,
      element("b", "", `${Math.round(count / took * 1000).toLocaleString("en")} a second`),
      right ? `; the last was ${replies.at(-1)}.` : ", but they do not follow one another!");
  } finally {
    $("pipeline").disabled = false;
  }
});

const version = /redis_version:(\S+)/.exec(await commands.call("INFO", "server"));
$("server").textContent = version ? `Redis ${version[1]}` : "";
await subscribe($("channel").value);
