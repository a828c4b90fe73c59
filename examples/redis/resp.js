// resp - a Redis client on one stream: commands out, replies in, in the same order.
//
// RESP2, of which https://redis.io/docs/latest/develop/reference/protocol-spec/ is the text. Replies
// become: text, number, null, array, or RedisError.

const encoder = new TextEncoder(), decoder = new TextDecoder();
const LINE_LIMIT = 65536; // bytes; what Redis says in a line is short
const NESTING = 16;

/** Redis said that a command was wrong. */
export class RedisError extends Error {
  name = "RedisError";
}

/** The words of a command as people type it; quotes hold words together. */
export function splitWords(line) {
  const words = [];
  for (const [, double, single, plain] of line.matchAll(/"((?:\\.|[^"\\])*)"|'([^']*)'|(\S+)/g))
    words.push(double !== undefined ? JSON.parse(`"${double}"`) : single ?? plain);
  return words;
}

function encode(words) {
  const parts = words.map((word) => `$${encoder.encode(String(word)).length}\r\n${word}\r\n`);
  return `*${words.length}\r\n${parts.join("")}`;
}

export class Redis {
  #stream;
  #turn = Promise.resolve(); // whose replies are read now

  constructor(stream) {
    this.#stream = stream;
  }

  /** One command, one reply; a RedisError is thrown. */
  async call(...words) {
    const [reply] = await this.pipeline([words]);
    if (reply instanceof RedisError) throw reply;
    return reply;
  }

  /** Many commands in one go, and their replies. A RedisError stands where its reply would. */
  async pipeline(commands) {
    // Both at once: Redis stops reading when nobody reads its replies.
    const written = this.#stream.write(commands.map(encode).join(""));
    const read = this.#turn.then(async () => {
      const replies = [];
      while (replies.length < commands.length) replies.push(await this.reply());
      return replies;
    });
    this.#turn = read.catch(() => {});
    return (await Promise.all([read, written]))[0];
  }

  /** Sends a command without waiting for what comes: SUBSCRIBE has many replies. */
  send(...words) {
    return this.#stream.write(encode(words));
  }

  /** The next reply. */
  async reply(depth = 0) {
    const line = await this.#stream.readLine({ limit: LINE_LIMIT });
    if (line === null) throw new Error("Redis has ended the connection.");
    const rest = line.slice(1);
    switch (line[0]) {
      case "+": return rest;
      case "-": return new RedisError(rest);
      case ":": return Number(rest);
      case "$": return this.#text(Number(rest));
      case "*": return this.#list(Number(rest), depth);
      default: throw new Error(`Redis said what this client does not know: ${line}`);
    }
  }

  async #text(length) {
    if (length < 0) return null;
    const bytes = await this.#stream.readExactly(length + 2);
    return decoder.decode(bytes.subarray(0, length));
  }

  async #list(length, depth) {
    if (length < 0) return null;
    if (depth > NESTING) throw new Error("Redis nests its reply too deeply.");
    const list = [];
    while (list.length < length) list.push(await this.reply(depth + 1));
    return list;
  }
}
