// postgresql - a small PostgreSQL client on one stream: sign in with a password, ask, read rows.
//
// Protocol 3.0, https://www.postgresql.org/docs/current/protocol.html: startup, SCRAM-SHA-256 and the
// simple query. No TLS: between browser and Sluice there is QUIC's, and from there on a Unix socket.

import { answer, begin } from "./scram.js";

const encoder = new TextEncoder(), decoder = new TextDecoder();
const MESSAGE_LIMIT = 64 * 1024 * 1024; // bytes; a row is one message
const SCRAM = "SCRAM-SHA-256";
const FIELDS = { S: "severity", C: "code", M: "message", D: "detail", H: "hint", P: "position" };

/** The server's own error: severity, code (SQLSTATE), message, detail, hint, position (from 1). */
export class PostgresError extends Error {
  constructor(fields) {
    super(fields.message);
    Object.assign(this, fields);
    this.name = "PostgresError";
  }
}

/** Reads what stands in one message. */
class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.at = 0;
  }

  get left() {
    return this.bytes.length - this.at;
  }

  int16() {
    this.at += 2;
    return this.view.getInt16(this.at - 2);
  }

  int32() {
    this.at += 4;
    return this.view.getInt32(this.at - 4);
  }

  text(length = this.left) {
    this.at += length;
    return decoder.decode(this.bytes.subarray(this.at - length, this.at));
  }

  cString() {
    const end = this.bytes.indexOf(0, this.at);
    if (end < 0) throw new Error("PostgreSQL's message ends in the middle of a text.");
    const text = this.text(end - this.at);
    this.at++;
    return text;
  }

  fields() {
    const fields = {};
    for (let kind; (kind = this.text(1)) !== "\0";) {
      const text = this.cString();
      if (FIELDS[kind]) fields[FIELDS[kind]] = text;
    }
    return fields;
  }
}

// parts: text (which gets its zero), numbers (32 bits), bytes.
function message(kind, ...parts) {
  const pieces = parts.map((part) => {
    if (typeof part === "string") return encoder.encode(`${part}\0`);
    if (part instanceof Uint8Array) return part;
    const four = new Uint8Array(4);
    new DataView(four.buffer).setInt32(0, part);
    return four;
  });
  const length = pieces.reduce((sum, piece) => sum + piece.length, 4);
  const whole = new Uint8Array(kind.length + length);
  if (kind) whole[0] = kind.charCodeAt(0);
  new DataView(whole.buffer).setInt32(kind.length, length);
  let at = kind.length + 4;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

export class Connection {
  #stream;
  parameters = {}; // what the server says of itself: server_version, TimeZone...

  constructor(stream) {
    this.#stream = stream;
  }

  /**
   * Signs in.
   * @throws {PostgresError} the server did not let us in
   */
  static async open(stream, { user, password, database = user }) {
    const connection = new Connection(stream);
    const options = ["user", user, "database", database, "client_encoding", "UTF8", "application_name", "page", ""];
    await stream.write(message("", 3 << 16, ...options));
    await connection.#signIn(password);
    for (let kind, body; [kind, body] = await connection.#receive(), kind !== "Z";)
      if (kind === "E") throw new PostgresError(body.fields());
    return connection;
  }

  async #signIn(password) {
    let scram = null;
    for (;;) {
      const [kind, body] = await this.#receive();
      if (kind === "E") throw new PostgresError(body.fields());
      if (kind !== "R") throw new Error(`PostgreSQL sent "${kind}" instead of how to sign in.`);
      const step = body.int32();
      if (step === 0) {
        if (scram && !scram.done) throw new Error("PostgreSQL did not prove that it knows the password.");
        return;
      } else if (step === 10) {
        const offered = body.text().split("\0");
        if (!offered.includes(SCRAM)) throw new Error(`PostgreSQL wants ${offered[0]}; this client has ${SCRAM}.`);
        scram = begin();
        const first = encoder.encode(scram.message);
        await this.#stream.write(message("p", SCRAM, first.length, first));
      } else if (step === 11 && scram) {
        scram = await answer(scram, password, body.text());
        await this.#stream.write(message("p", encoder.encode(scram.message)));
      } else if (step === 12 && scram?.verify) {
        scram.verify(body.text());
      } else {
        throw new Error("PostgreSQL asks for a way to sign in that this client does not have.");
      }
    }
  }

  /**
   * Asks. Several statements have several results.
   *
   * @param {string} sql
   * @param {(row: (string|null)[]) => void} [each]  gets each row; then `rows` stays empty
   * @returns {Promise<{columns: string[], rows: (string|null)[][], tag: string, notices: object[]}[]>}
   *   values are text as PostgreSQL writes it; tag is such as "SELECT 3"
   * @throws {PostgresError} the connection can be asked again after it
   */
  async query(sql, each) {
    await this.#stream.write(message("Q", sql));
    const results = [];
    let result = null, failure = null;
    const notices = [];
    for (;;) {
      const [kind, body] = await this.#receive();
      if (kind === "T") result = { columns: this.#columns(body), rows: [], tag: "", notices };
      else if (kind === "D") each ? each(this.#row(body)) : result.rows.push(this.#row(body));
      else if (kind === "C" || kind === "I") {
        results.push({ columns: [], rows: [], notices, ...result, tag: kind === "C" ? body.cString() : "" });
        result = null;
      } else if (kind === "N") notices.push(body.fields());
      else if (kind === "E") failure = new PostgresError(body.fields());
      else if (kind === "G") await this.#stream.write(message("f", "COPY from a page is not possible here"));
      else if (kind === "Z") break;
    }
    if (failure) throw failure;
    return results;
  }

  /** Says goodbye. */
  async close() {
    await this.#stream.write(message("X"));
    await this.#stream.closeWrite();
  }

  // [kind, Reader] of the next message that somebody waits for.
  async #receive() {
    for (;;) {
      const head = new Reader(await this.#stream.readExactly(5));
      const kind = head.text(1), length = head.int32() - 4;
      if (length < 0 || length > MESSAGE_LIMIT) throw new Error(`PostgreSQL sent a message of ${length} bytes.`);
      const body = new Reader(await this.#stream.readExactly(length));
      if (kind === "S") this.parameters[body.cString()] = body.cString();
      else return [kind, body];
    }
  }

  #columns(body) {
    return Array.from({ length: body.int16() }, () => {
      const name = body.cString();
      body.at += 18; // table, column, type, size, modifier, format
      return name;
    });
  }

  #row(body) {
    return Array.from({ length: body.int16() }, () => {
      const length = body.int32();
      return length < 0 ? null : body.text(length);
    });
  }
}
