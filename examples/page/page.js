// page - what the pages of the examples share: the session, its state in the corner, and problems.

import { connect } from "../sluice/sluice.js";

const $ = (id) => document.getElementById(id);

function show(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
}

/** Tells a problem, or with null that there is none any more. */
export function explain(error, title = "That did not work.") {
  $("problem").hidden = !error;
  if (!error) return;
  const heading = document.createElement("b");
  heading.textContent = title;
  $("problem").replaceChildren(heading, ` ${error.message || error}`);
  console.warn(error);
}

/**
 * Opens the session of this page, as its server says.
 * @returns {Promise<{session: Session, told: object}>} told: what else the server says
 */
export async function start() {
  show("connecting", "Connecting");
  try {
    const answer = await fetch("session.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`session.json: HTTP ${answer.status}`);
    const told = await answer.json();
    const session = await connect(told.url, { certificate: told.certificate });
    show("connected", "Connected");
    session.closed.then(
      ({ code, reason }) => ended(`The session was closed with code ${code}${reason ? `: ${reason}` : ""}.`),
      (error) => ended(error.message));
    return { session, told };
  } catch (error) {
    show("failed", "Not connected");
    explain(error, "There is no connection.");
    throw error;
  }
}

function ended(text) {
  show("failed", "Ended");
  explain(`${text} Reload the page to connect again.`, "The connection has ended.");
}

/** An element with a class and a text. */
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Calls action when the form is submitted; what goes wrong is told. */
export function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await action();
    } catch (error) {
      explain(error);
    }
  });
}

/** Milliseconds, as people say them. */
export function duration(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
