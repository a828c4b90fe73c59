// scram - SCRAM-SHA-256 (RFC 5802, RFC 7677), with the browser's own cryptography: both sides show
// that they know the password, and it does not travel.

const encoder = new TextEncoder();
const ITERATIONS_MAX = 1_000_000; // each costs us time, and the server says how many

const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

async function hmac(key, data) {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, bytes));
}

async function stretch(password, salt, iterations) {
  const key = await crypto.subtle.importKey("raw", encoder.encode(password.normalize("NFKC")), "PBKDF2", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, key, 256));
}

function attributes(text) {
  return Object.fromEntries(text.split(",").map((part) => [part[0], part.slice(2)]));
}

/** The first step: `message` is for the server. PostgreSQL knows the user already. */
export function begin(nonce = toBase64(crypto.getRandomValues(new Uint8Array(18)))) {
  const bare = `n=,r=${nonce}`;
  return { nonce, bare, message: `n,,${bare}` };
}

/**
 * The second step, for what the server said: `message` is for the server, and its answer for
 * verify(), which throws if the server does not know the password itself; `done` says that it did.
 */
export async function answer({ nonce, bare }, password, challenge) {
  const { r: joint, s: salt, i: count } = attributes(challenge);
  const iterations = Number(count);
  if (!joint?.startsWith(nonce) || joint === nonce || !salt) throw new Error("The server's challenge is not for us.");
  if (!(iterations >= 1 && iterations <= ITERATIONS_MAX)) throw new Error(`The server wants ${count} iterations.`);
  const salted = await stretch(password, fromBase64(salt), iterations);
  const clientKey = await hmac(salted, "Client Key");
  const storedKey = new Uint8Array(await crypto.subtle.digest("SHA-256", clientKey));
  const final = `c=biws,r=${joint}`;
  const exchange = `${bare},${challenge},${final}`;
  const signature = await hmac(storedKey, exchange);
  const proof = clientKey.map((byte, i) => byte ^ signature[i]);
  const expected = toBase64(await hmac(await hmac(salted, "Server Key"), exchange));
  return {
    done: false,
    message: `${final},p=${toBase64(proof)}`,
    verify(text) {
      if (attributes(text).v !== expected) throw new Error("The server does not know the password itself.");
      this.done = true;
    },
  };
}
