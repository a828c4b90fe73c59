// diagnosis - why there is no connection, in words and with what to do about it.
//
// A problem is {title, text, steps, details, place}; place is where in the picture the way is
// broken: "page", "front" (browser to proxy), "proxy", "back" (proxy to application) or
// "application".
//
// A browser says little about a failed session, on purpose. The proxy's own counters say more: how
// far did this attempt get? Pure, but for reading the counters.

// The proxy's counters, or null if it does not answer.
export async function readStats() {
  try {
    const answer = await fetch("stats", { cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function grown(before, after, group, name) {
  return (after?.[group]?.[name] ?? 0) > (before?.[group]?.[name] ?? 0);
}

// What stands in the way before anything was tried, or null. `scope` is the window.
export function findObstacle(scope) {
  if (!scope.isSecureContext) {
    const url = new URL(scope.location.href);
    url.hostname = "localhost";
    return {
      title: "This page was not opened securely",
      text: "Browsers offer WebTransport only to pages that came over HTTPS, or from this very computer.",
      steps: [`If Sluice runs on this computer, open ${url.href}`,
        `If it runs on another one, make a tunnel (ssh -L ${url.port || 80}:localhost:${url.port || 80} thatcomputer) and open ${url.href}, or put the page behind HTTPS.`],
      details: `${scope.location.origin} is not a secure context.`,
      place: "page",
    };
  }
  if (typeof scope.WebTransport !== "function")
    return {
      title: "This browser has no WebTransport",
      text: "It may be too old, or it is switched off.",
      steps: ["Chrome, Edge and other Chromium browsers have it since version 97, Firefox since 114, Safari since 26.4.",
        "In Firefox, look in about:config whether network.webtransport.enabled is true."],
      details: scope.navigator?.userAgent ?? "",
      place: "page",
    };
  return null;
}

export function explainNoCertificate(error) {
  return {
    title: "The proxy does not answer",
    text: "This page could not read certificate.json, which tells how to reach the proxy.",
    steps: ["Is Sluice still running? Look at the terminal where it was started.",
      "If this page is served by another program, serve it from Sluice’s admin listener: sluice --admin localhost:8080"],
    details: String(error),
    place: "proxy",
  };
}

// What the proxy says of itself, of the client, and of the application: most telling first.
const faults = [
  ["backend_connect", "The application is not running", "Sluice reached nobody at the application’s address, and answered 502.",
    ["Start the application, or look at --app: is it the address the application listens on?"], "back"],
  ["backend_connect_timeout", "The application does not take connections", "It did not take the connection in time; Sluice answered 502.",
    ["Is the application busy or stopped?"], "back"],
  ["backend_accept_timeout", "The application never answered", "It neither accepted nor rejected the session in time; Sluice answered 504.",
    ["An application answers each scope with webtransport.accept or webtransport.reject."], "application"],
  ["backend_protocol", "The application broke the protocol", "What it sent is not the backend protocol; Sluice answered 502.",
    ["Sluice’s log says which frame and which field."], "application"],
  ["backend_lost", "The application crashed", "It hung up before it answered; Sluice answered 502.",
    ["Look at the application’s log."], "application"],
  ["backend_full", "The application is full", "All its addresses have as many sessions as they may; Sluice answered 503.",
    ["Try again later, or look at max_address_sessions and queue."], "back"],
  ["host", "Sluice does not serve this host", "It is set up for other hosts, and answered 421.",
    ["Take another address below, or add the host to --host, or to hosts of a route."], "proxy"],
  ["no_route", "No route is for this path", "Sluice serves this host, but no route has this path; it answered 404.",
    ["Take another path in the address below, or look at path and path_prefix of the routes."], "proxy"],
  ["origin", "Pages of this origin may not come", "Sluice lets in pages of other origins only, and answered 403.",
    ["Add this page’s origin to --origin, or to origins of the route; the log tells which it is."], "proxy"],
  ["too_many_sessions", "The proxy is full", "As many sessions as it may have, or as this route may, are alive; Sluice answered 503.",
    ["Try again later, or raise max_sessions."], "proxy"],
  ["memory_session", "The proxy has no memory left", "Other sessions hold all that it may use; Sluice answered 503.",
    ["Try again later, or raise --memory."], "proxy"],
  ["client_sessions", "Too many sessions from your address", "It has as many sessions as one may have; Sluice answered 429.",
    ["Close some, or raise --client-sessions."], "proxy"],
  ["client_session_rate", "Too many new sessions from your address", "They come faster than they may; Sluice answered 429.",
    ["Try again in a moment, or raise --client-session-rate."], "proxy"],
  ["draining", "The proxy is shutting down", "It takes no new sessions.", ["Try again in a moment."], "proxy"],
];

// Why connecting to url failed. before and after are the proxy's counters around the attempt, null
// where it did not answer.
export function explainFailure({ error, url, before, after }) {
  const where = new URL(url);
  const details = `${error?.name ?? "Error"}: ${error?.message || "no message"}\n${url}`;
  const has = (group, name) => grown(before, after, group, name);

  if (!after)
    return {
      title: "The proxy has gone",
      text: "It answered before, and does not any more.",
      steps: ["Look at the terminal where Sluice was started; start it again and reload this page."],
      details,
      place: "proxy",
    };
  if (before && !has("counters", "connections_accepted"))
    return {
      title: "No packet reached the proxy",
      text: `Sluice runs, but nothing of this attempt came to its UDP port ${where.port || 443}.`,
      steps: ["WebTransport runs over UDP. A firewall, a VPN or a container may let TCP pass and UDP not.",
        `Is the address right? Host ${where.hostname}, port ${where.port || 443}.`,
        "In a container or a virtual machine the UDP port must be published too (4433:4433/udp)."],
      details,
      place: "front",
    };
  if (before && !has("counters", "handshakes_completed"))
    return {
      title: "The browser did not trust the certificate",
      text: "It reached the proxy, and ended the handshake. The hash did not match, or the certificate is not valid at this moment.",
      steps: ["Certificates made with --cert auto are valid for 13 days: is this computer’s clock right?",
        "Was Sluice started anew? Then reload this page, which fetches the new hash.",
        "A certificate of your own works with a hash only if it is ECDSA P-256 and valid for at most 14 days."],
      details,
      place: "front",
    };
  if (before && !has("counters", "sessions_requested"))
    return {
      title: "Browser and proxy found no common language",
      text: "The encrypted connection stood, but the browser asked for no session.",
      steps: ["Please report this, with the browser’s version."],
      details: `${details}\n${globalThis.navigator?.userAgent ?? ""}`,
      place: "front",
    };
  const known = faults.find(([name]) => has("faults", name));
  if (known)
    return { title: known[1], text: known[2], steps: known[3], details, place: known[4] };
  if (has("counters", "sessions_refused"))
    return {
      title: "The application rejected the session",
      text: "Everything on the way works: the application itself said no, with an HTTP status that browsers do not show to pages.",
      steps: [where.pathname === "/reject" ? "You asked it to. Choose another behaviour and connect again."
        : "Does the application know this path and this origin?"],
      details,
      place: "application",
    };
  return {
    title: "The connection failed",
    text: "The proxy is there, but the session did not come about.",
    steps: ["Sluice’s log says why each session ended.", "Is UDP let through all the way?", "Is this computer’s clock right?"],
    details,
    place: "front",
  };
}
