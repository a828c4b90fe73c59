// app - the demo page: joins the session to what is seen, and buttons to what is done.

import { Session, errorCode } from "./session.js";
import { Flow } from "./flow.js";
import { BurstLane, Lane, clearFinished, preview, size } from "./lanes.js";
import { Ping, milliseconds } from "./ping.js";
import { explainFailure, explainNoCertificate, findObstacle, readStats } from "./diagnosis.js";

const $ = (id) => document.getElementById(id);
const BULK_BYTES = 10_000_000;
const LOG_ENTRIES = 200;

let session = null; // once its `ready` has come, until it has closed
let startedAt = 0;
let openStreams = 0;
const totals = { out: 0, in: 0 };
const pipes = [new Flow($("pipe-front")), new Flow($("pipe-back"))];

// --- what is seen ---

function log(text, kind = "info") {
  const entry = document.createElement("li"), time = document.createElement("time");
  entry.dataset.kind = kind;
  time.textContent = new Date().toLocaleTimeString([], { hour12: false });
  entry.append(time, text);
  $("log").prepend(entry);
  while ($("log").children.length > LOG_ENTRIES) $("log").lastElementChild.remove();
}

function setState(state, text) {
  $("state").dataset.state = $("picture").dataset.state = state;
  $("state-text").textContent = text;
  const connected = state === "connected";
  $("stream-tools").disabled = $("datagram-tools").disabled = !connected;
  $("close-form").hidden = !connected;
  $("connect-form").hidden = connected;
  $("connect").disabled = state === "connecting";
  $("connect").textContent = state === "connecting" ? "Connecting…" : "Connect";
}

function showProblem(problem) {
  $("problem").hidden = !problem;
  $("picture").dataset.broken = problem?.place ?? "";
  if (!problem) return;
  $("problem-title").textContent = problem.title;
  $("problem-text").textContent = problem.text;
  $("problem-steps").replaceChildren(...problem.steps.map((step) => {
    const li = document.createElement("li");
    li.textContent = step;
    return li;
  }));
  $("problem-details").textContent = problem.details;
  log(`${problem.title}. ${problem.text}`, "bad");
}

// How the last session ended; in the log, too.
function showOutcome(text, kind) {
  $("outcome").hidden = !text;
  $("outcome").textContent = text;
  $("outcome").dataset.kind = kind;
  if (text) log(text, kind);
}

function showTotals() {
  $("session-sent").textContent = size(totals.out);
  $("session-received").textContent = size(totals.in);
  $("session-streams").textContent = openStreams;
}

// Every byte moves through the picture as well: one pipe after the other.
function moved(way, bytes) {
  totals[way] += bytes;
  showTotals();
  const [first, second] = way === "out" ? pipes : [pipes[1], pipes[0]];
  first.push(way, bytes, () => second.push(way, bytes));
}

function showTime() {
  const seconds = Math.floor((performance.now() - startedAt) / 1000);
  $("session-time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

// --- the session ---

function hexToBytes(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

async function fetchIdentity() {
  const answer = await fetch("certificate.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`certificate.json: HTTP ${answer.status}`);
  const { hashes = [], urls = [], port = 4433 } = await answer.json();
  return { hashes: hashes.map(hexToBytes), url: urls[0] ?? `https://${location.hostname}:${port}/` };
}

// The address with the path of the chosen behaviour.
function applyBehaviour() {
  try {
    const url = new URL($("behaviour").value, $("address").value);
    $("address").value = url.href;
  } catch { /* there is no address yet */ }
}

async function connect() {
  showProblem(findObstacle(window));
  if (!$("problem").hidden) return setState("failed", "Cannot connect");
  setState("connecting", "Connecting");
  showOutcome("", "");
  let identity;
  try {
    identity = await fetchIdentity();
  } catch (error) {
    showProblem(explainNoCertificate(error));
    return setState("failed", "Cannot connect");
  }
  if (!$("address").value) {
    $("address").value = identity.url;
    applyBehaviour();
  }
  await open($("address").value, identity.hashes);
}

async function open(url, hashes) {
  const before = await readStats();
  let candidate;
  log(`Connecting to ${url}`);
  try {
    candidate = new Session(url, hashes, {
      stream: (channel) => welcome(channel),
      datagram: receiveDatagram,
      draining: () => log("The other side asks to finish soon.", "warn"),
      closed: (end) => closed(candidate, end),
    });
    await candidate.ready();
  } catch (error) {
    showProblem(explainFailure({ error, url, before, after: await readStats() }));
    return setState("failed", "Cannot connect");
  }
  began(candidate, url);
}

function began(candidate, url) {
  session = candidate;
  startedAt = performance.now();
  totals.out = totals.in = 0;
  showTotals();
  setState("connected", "Connected");
  log(`Connected: the application accepted the session at ${new URL(url).pathname}.`, "good");
  // A session that ended in the same breath has told so before we could listen.
  if (candidate.end) closed(candidate, candidate.end);
}

function closed(which, end) {
  if (which) which.end = end;
  if (!session || session !== which) return; // its failure to open is explained elsewhere
  session = null;
  ping.stop();
  showPing();
  if (end.error) {
    setState("failed", "Lost");
    showOutcome(`The session was lost: ${end.error.message || "no reason was given"}.`, "bad");
  } else {
    const reason = end.reason ? ` and the reason “${end.reason}”` : "";
    setState("closed", `Closed, code ${end.code}`);
    showOutcome(`The session was closed with code ${end.code}${reason}.`, end.code ? "warn" : "good");
  }
}

// --- streams ---

function track(channel, options = {}) {
  openStreams++;
  showTotals();
  const lane = new Lane(channel, { told: moved, ...options });
  const { changed } = channel.handlers;
  channel.handlers.changed = () => {
    changed();
    if (channel.open || channel.counted) return;
    channel.counted = true;
    openStreams--;
    showTotals();
    if (channel.code !== null) log(`Stream ${channel.number} was reset with code ${channel.code}.`, "warn");
  };
  return lane;
}

async function welcome(channel) {
  const talk = channel.kind === "bidi";
  track(channel, { talk });
  log(`The application opened stream ${channel.number}${talk ? ", both ways" : ""}.`);
  await channel.readAll();
}

// Reports what goes wrong with something the user asked for.
async function attempt(what, action) {
  try {
    await action();
  } catch (error) {
    const code = errorCode(error);
    log(`${what} did not work: ${error.message || error.name}${code === null ? "" : ` (code ${code})`}.`, "bad");
  }
}

async function sayOnStream(text, bidi) {
  const channel = bidi ? await session.openBidi() : await session.openUni();
  track(channel);
  channel.readAll();
  await channel.write(text);
  await channel.finish();
}

// A unidirectional stream whose content is a command to the demo application.
function command(text) {
  return attempt("Asking the application", () => sayOnStream(text, false));
}

async function openTalk() {
  const channel = await session.openBidi();
  const lane = track(channel, { talk: true });
  channel.readAll();
  log(`You opened stream ${channel.number}. It stays open until one of you ends it.`);
  lane.form.querySelector("input").focus();
}

async function burstOne(lane, index) {
  const greeting = `Hello from stream ${index + 1} of the burst`;
  try {
    const channel = await session.openBidi();
    let answer = 0;
    channel.handlers = {
      sent: (bytes) => moved("out", bytes.length),
      received: (bytes) => {
        answer += bytes.length;
        moved("in", bytes.length);
      },
    };
    lane.mark(index, "asked");
    await channel.write(greeting);
    channel.finish().catch(() => {});
    await channel.readAll();
    const whole = channel.receiving === "ended" && answer === greeting.length;
    lane.mark(index, whole ? "answered" : "failed");
    return whole;
  } catch {
    lane.mark(index, "failed");
    return false;
  }
}

async function burst() {
  const count = 100, lane = new BurstLane(count), since = performance.now();
  openStreams += count;
  showTotals();
  const results = await Promise.all(Array.from({ length: count }, (_, i) => burstOne(lane, i)));
  openStreams -= count;
  showTotals();
  const good = results.filter(Boolean).length, took = milliseconds(performance.now() - since);
  const words = good === count
    ? `All ${count} streams were opened, answered and ended within ${took}.`
    : `${good} of ${count} streams were answered, within ${took}.`;
  lane.say(good === count ? "finished" : "incomplete", good === count ? "finished" : "broken", words);
  log(words, good === count ? "good" : "bad");
}

async function bulk() {
  const channel = await session.openBidi(), lane = track(channel, { quiet: true });
  const piece = new Uint8Array(65536), since = performance.now();
  lane.note("On the way…");
  const reading = channel.readAll();
  for (let left = BULK_BYTES; left > 0; left -= piece.length)
    await channel.write(left < piece.length ? piece.subarray(0, left) : piece);
  await channel.finish();
  await reading;
  const seconds = (performance.now() - since) / 1000;
  const words = channel.received === BULK_BYTES
    ? `${size(BULK_BYTES)} went there and back in ${seconds.toFixed(2)} s: ${size(BULK_BYTES / seconds)} per second each way.`
    : `Only ${size(channel.received)} of ${size(BULK_BYTES)} came back.`;
  lane.note(words);
  log(words, channel.received === BULK_BYTES ? "good" : "bad");
}

// --- datagrams ---

const ping = new Ping($("chart"), (bytes) => {
  session?.sendDatagram(bytes);
  moved("out", bytes.length);
}, showPing);

function receiveDatagram(bytes) {
  moved("in", bytes.length);
  if (ping.receive(bytes)) return;
  const text = preview(bytes);
  log(text ? `A datagram came: “${text}”` : `A datagram of ${size(bytes.length)} came.`);
}

function showPing() {
  const summary = ping.summary();
  $("ping").textContent = ping.running ? "Stop ping" : "Start ping";
  $("ping").setAttribute("aria-pressed", String(ping.running));
  for (const name of ["latest", "median", "slowest"])
    $(`rtt-${name}`).textContent = summary ? milliseconds(summary[name]) : "–";
  $("rtt-lost").textContent = ping.sent ? `${ping.lost} of ${ping.sent}` : "–";
}

// --- what is done ---

function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

function onClick(id, what, action) {
  $(id).addEventListener("click", () => attempt(what, action));
}

function say() {
  const text = $("say-text").value || "Hello, application!", how = $("say-how").value;
  $("say-text").value = "";
  if (how !== "datagram") return attempt("Sending", () => sayOnStream(text, how === "bidi"));
  const bytes = new TextEncoder().encode(text);
  session.sendDatagram(bytes);
  moved("out", bytes.length);
  log(`You sent a datagram: “${text}”`);
}

onSubmit("connect-form", connect);
onSubmit("say-form", say);
onSubmit("close-form", () => {
  log("You close the session.");
  session.close(Number($("close-code").value), $("close-reason").value);
});
onClick("open-bidi", "Opening a stream", openTalk);
onClick("burst", "The burst", burst);
onClick("bulk", "Sending 10 MB", bulk);
onClick("ask-uni", "Asking for streams", () => command("!open uni 3"));
onClick("ask-bidi", "Asking for a stream", () => command("!open bidi 1"));
onClick("ask-close", "Asking for a close", () => command(`!close ${Number($("close-code").value)} ${$("close-reason").value}`));
onClick("clear", "Clearing", clearFinished);
onClick("ping", "The ping", () => {
  if (ping.running) ping.stop();
  else ping.start(Number($("ping-rate").value));
  showPing();
});
$("ping-rate").addEventListener("change", () => ping.running && ping.start(Number($("ping-rate").value)));
$("behaviour").addEventListener("change", applyBehaviour);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  pipes.forEach((pipe) => pipe.redraw());
  document.querySelectorAll(".lane").forEach((lane) => lane.flow?.redraw());
  ping.draw();
});
setInterval(() => session && showTime(), 500);
connect();
