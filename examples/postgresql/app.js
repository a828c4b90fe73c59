// app - the page: one connection to the database, a query at a time, its rows in a table.

import { duration, element, explain, onSubmit, start } from "./page/page.js";
import { Connection, PostgresError } from "./postgresql.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 500; // rows; all are read and counted
const NUMBER = /^-?\d+(\.\d+)?$/;

const { session, told } = await start();
let connection = null;
for (const name of ["user", "password", "database"]) $(name).value = told[name] ?? "";

async function signIn() {
  $("run").disabled = true;
  $("server").textContent = "signing in…";
  connection?.close().catch(() => {});
  connection = null;
  const stream = await session.open();
  const values = { user: $("user").value, password: $("password").value, database: $("database").value };
  try {
    connection = await Connection.open(stream, values);
  } catch (error) {
    stream.reset();
    $("server").textContent = "not signed in";
    throw error;
  }
  $("server").textContent = `PostgreSQL ${connection.parameters.server_version.split(" ")[0]}, signed in as ${values.user}`;
  $("run").disabled = false;
  explain(null);
}

// --- results ---

function cell(value, numeric) {
  if (value === null) return element("td", numeric ? "null number" : "null", "null");
  return element("td", numeric ? "number" : "", value);
}

function table(columns, rows) {
  const made = document.createElement("table"), body = document.createElement("tbody");
  const numeric = columns.map((_, i) => rows.length > 0 && rows.every((row) => row[i] === null || NUMBER.test(row[i])));
  const head = made.createTHead().insertRow();
  head.append(...columns.map((name, i) => element("th", numeric[i] ? "number" : "", name)));
  for (const row of rows) {
    const line = document.createElement("tr");
    line.append(...row.map((value, i) => cell(value, numeric[i])));
    body.append(line);
  }
  made.append(body);
  return made;
}

function showFailure(error, sql) {
  const [title, text, place] = $("failure").children;
  $("failure").hidden = false;
  title.textContent = `${error.severity} ${error.code}:`;
  text.textContent = [error.message, error.detail, error.hint].filter(Boolean).join(". ");
  // The line that is meant, and where in it. Positions count characters, not UTF-16.
  const before = Array.from(sql).slice(0, error.position - 1).join("");
  const begin = before.lastIndexOf("\n") + 1, line = sql.slice(begin).split("\n")[0];
  place.textContent = error.position ? `${line}\n${" ".repeat(before.length - begin)}▲` : "";
}

async function run() {
  const sql = $("sql").value, since = performance.now(), rows = [];
  let count = 0;
  $("run").disabled = true;
  $("result").hidden = false;
  $("failure").hidden = true;
  $("figures").textContent = "running…";
  try {
    const results = await connection.query(sql, (row) => {
      if (++count <= SHOWN) rows.push(row);
    });
    const took = duration(performance.now() - since);
    const last = results.at(-1);
    $("figures").textContent = `${count.toLocaleString("en")} row${count === 1 ? "" : "s"} in ${took}`
      + (count > SHOWN ? `, the first ${SHOWN} here` : "");
    // Rows of several statements cannot share a table; those of one can.
    const one = results.length === 1 && last.columns.length;
    $("sheet").replaceChildren(one ? table(last.columns, rows)
      : element("p", "tag", results.map((result) => result.tag || "(empty)").join(", ")));
  } catch (error) {
    $("sheet").replaceChildren();
    $("figures").textContent = "";
    if (!(error instanceof PostgresError)) throw error;
    showFailure(error, sql);
  } finally {
    $("run").disabled = false;
  }
}

onSubmit($("sign-form"), signIn);
onSubmit($("query-form"), run);
$("sql").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("query-form").requestSubmit($("run"));
});
$("ideas").addEventListener("click", (event) => {
  const { sql } = event.target.dataset;
  if (!sql) return;
  $("sql").value = sql;
  $("query-form").requestSubmit($("run"));
});
await signIn().then(run).catch(explain);
