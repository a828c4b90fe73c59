// sluice - sessions and streams of a browser, in the shape that a client of a plain TCP service wants.
//
// For routes whose backend has `kind: bridge`: every stream that is opened here is one connection to
// the service behind Sluice. It works as well in front of applications. No dependencies, no build
// step; sizes are bytes, times are not this module's business (the backend's settings have them).

import { Intake } from "./intake.js";
import { SessionError, StreamError, translate } from "./errors.js";

export { CODES, EndOfStream, SessionError, StreamError, TooLong } from "./errors.js";

// How long the code of one half may come after the error of the other. They leave Sluice together.
const CODE_MS = 100;

const encoder = new TextEncoder();

// Firefox collects a session that nobody holds, and its promises then never settle.
const alive = new Set();

/**
 * Opens a session.
 *
 * @param {string|URL} url  https://HOST:PORT/PATH of a route
 * @param {object} [options]
 * @param {Hash|Hash[]} [options.certificate]  SHA-256 of the certificate(s) to trust, as bytes or in
 *   hexadecimal, the way that Sluice prints it (`/certificate.json` of its admin listener has it, too).
 *   Without it the browser wants a certificate from an authority that it knows.
 * @returns {Promise<Session>}
 * @throws {SessionError} kind "failed": no session came to be. Browsers do not tell a page why; the
 *   log and the metrics of Sluice do.
 * @throws {TypeError} a hash that is none, or a browser without WebTransport (which wants https:// or
 *   localhost)
 *
 * @typedef {string|BufferSource} Hash
 */
export async function connect(url, { certificate = [] } = {}) {
  if (typeof WebTransport !== "function")
    throw new TypeError("There is no WebTransport: the browser is too old, or the page came neither by https nor from localhost.");
  const hashes = [certificate].flat().map(toHash);
  const transport = new WebTransport(url, hashes.length ? { serverCertificateHashes: hashes } : {});
  const session = new Session(transport);
  try {
    await transport.ready;
  } catch (error) {
    throw new SessionError("failed", `There is no session with ${url}: ${words(error)}`, error);
  }
  return session;
}

/** A session: as many streams as you like, and datagrams. Made by connect(). */
class Session {
  #transport;

  constructor(transport) {
    this.#transport = transport;
    alive.add(this);
    /**
     * How the session ended.
     * @type {Promise<{code: number, reason: string}>} what either side gave to close(). Rejects with
     *   a SessionError of kind "lost" when the session broke: the network, a restart, a time limit.
     */
    this.closed = transport.closed.then(
      ({ closeCode = 0, reason = "" } = {}) => ({ code: closeCode, reason }),
      (error) => { throw new SessionError("lost", `The session was lost: ${words(error)}`, error); });
    // Whoever does not ask has not left anything unhandled.
    this.closed.catch(() => {}).then(() => alive.delete(this));
    /** @type {Datagrams} */
    this.datagrams = new Datagrams(transport);
  }

  /**
   * Opens a stream: with a bridge, a connection to the service. This promise does not wait for the
   * connection; if it cannot be made, reading and writing say so.
   *
   * @returns {Promise<Stream>}
   * @throws {SessionError} the session has ended
   */
  async open() {
    try {
      return new Stream(await this.#transport.createBidirectionalStream());
    } catch (error) {
      throw translate(error, { closed: true });
    }
  }

  /**
   * Ends the session and all its streams. What was written last may be lost: read until the service
   * has ended the stream first.
   *
   * @param {number} [code]  32 bits
   * @param {string} [reason]  up to 1,024 bytes of UTF-8
   */
  close(code = 0, reason = "") {
    this.#transport.close({ closeCode: code, reason });
  }
}

/**
 * Two byte streams, one each way. Made by Session.open().
 *
 * Everything that reads or writes throws StreamError once the stream is broken, and SessionError once
 * the session is over. What had arrived before can still be read, except where the browser drops it.
 * One reading call at a time, please: a second one gets a TypeError. Writing calls may overlap.
 */
class Stream {
  #intake;
  #writer;
  #readable;
  #writable;
  #reader;
  #failure = null; // what everything throws from now on
  #given = false; // reset() was called

  constructor({ readable, writable }) {
    this.#reader = readable.getReader();
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => {});
    this.#writer.ready.catch(() => {});
    this.#reader.closed.catch(() => {});
    this.#intake = new Intake(() => this.#receive());
  }

  // Why it is broken, for `error` of one half. The code may come with the other half alone: Firefox
  // tells only that of a stop, Chromium sometimes only that of a reset.
  async #broken(error) {
    const own = translate(error);
    if (own.code === null && !this.#failure) {
      const halves = [this.#reader, this.#writer].map((half) => half.closed.then(() => own, translate));
      const told = halves.map((half) => half.then((e) => e.code === null ? new Promise(() => {}) : e));
      const late = new Promise((done) => setTimeout(done, CODE_MS, own));
      return this.#remember(await Promise.race([...told, Promise.all(halves).then(() => own), late]));
    }
    return this.#remember(own);
  }

  #remember(error) {
    if (!this.#failure || (this.#failure.code === null && error.code !== null)) this.#failure = error;
    return this.#failure;
  }

  async #receive() {
    let piece;
    try {
      piece = await this.#reader.read();
    } catch (error) {
      throw await this.#broken(error);
    }
    if (piece.done && this.#given) throw this.#failure;
    return piece.done ? null : piece.value;
  }

  // Firefox leaves a write unsettled that a stop overtakes.
  async #settled(writing) {
    try {
      await Promise.race([writing, this.#writer.closed.then(() => writing)]);
    } catch (error) {
      throw await this.#broken(error);
    }
  }

  // --- reading ---

  /**
   * What has arrived, as it comes: at least one byte. Waits for it.
   * @returns {Promise<Uint8Array|null>} null: the service has ended its side
   */
  read() {
    return this.#intake.read();
  }

  /**
   * @param {number} length  bytes
   * @returns {Promise<Uint8Array>} exactly so many
   * @throws {EndOfStream} the service ended before; `partial` has what there was
   */
  readExactly(length) {
    return this.#intake.readExactly(length);
  }

  /**
   * @param {string|Uint8Array} delimiter  at least one byte; text is UTF-8
   * @param {object} [options]
   * @param {number} [options.limit]  bytes with the delimiter
   * @returns {Promise<Uint8Array>} the bytes up to the delimiter, which is the end of them
   * @throws {EndOfStream} the service ended before; `partial` has what there was
   * @throws {TooLong} no delimiter within the limit; what is there stays to be read
   */
  readUntil(delimiter, options) {
    return this.#intake.readUntil(toBytes(delimiter), options);
  }

  /**
   * A line of UTF-8 without its end, which is LF or CR LF. The last one may have no end.
   *
   * @param {object} [options]
   * @param {number} [options.limit]  bytes with the end of the line
   * @returns {Promise<string|null>} null: the service has ended its side
   * @throws {TooLong} as readUntil
   */
  readLine(options) {
    return this.#intake.readLine(options);
  }

  /**
   * Everything up to the end.
   *
   * @param {object} [options]
   * @param {number} [options.limit]  bytes
   * @returns {Promise<Uint8Array>}
   * @throws {TooLong} there is more; what is there stays to be read
   */
  readAll(options) {
    return this.#intake.readAll(options);
  }

  /** The bytes as they arrive: `for await (const bytes of stream)`. Leaving the loop leaves the rest. */
  async *[Symbol.asyncIterator]() {
    for (let bytes; (bytes = await this.read()) !== null;) yield bytes;
  }

  /** Line by line: `for await (const line of stream.lines())`. */
  async *lines(options) {
    for (let line; (line = await this.readLine(options)) !== null;) yield line;
  }

  /**
   * What is still to be read, for pipeTo(), pipeThrough() and Response. It takes turns with the
   * calls above. Cancelling it closes that direction: the service can send no more.
   * @type {ReadableStream<Uint8Array>}
   */
  get readable() {
    this.#readable ??= new ReadableStream({
      pull: async (controller) => {
        const bytes = await this.read();
        if (bytes) controller.enqueue(bytes);
        else controller.close();
      },
      cancel: (reason) => this.#reader.cancel(reason),
    }, { highWaterMark: 0 });
    return this.#readable;
  }

  // --- writing ---

  /**
   * Waits for room, then hands over the bytes. So `await stream.write(...)` in a loop is as fast as
   * the service reads, and no faster.
   *
   * @param {string|BufferSource} data  text is sent as UTF-8; bytes must not be changed until then
   * @returns {Promise<void>} the browser has them, not yet the service
   */
  async write(data) {
    const bytes = toBytes(data);
    await this.#settled(this.#writer.ready);
    await this.#settled(this.#writer.write(bytes));
  }

  /**
   * Nothing more will be written: the service reads the end of the stream after all that was. Reading
   * goes on.
   * @returns {Promise<void>}
   */
  async closeWrite() {
    await this.#settled(this.#writer.close());
  }

  /**
   * For pipeTo(). It takes turns with write(). Closing it is closeWrite(), aborting it reset().
   * @type {WritableStream<string|BufferSource>}
   */
  get writable() {
    this.#writable ??= new WritableStream({
      write: (data) => this.write(data),
      close: () => this.closeWrite(),
      abort: () => this.reset(),
    });
    return this.#writable;
  }

  /**
   * Gives up the stream, both ways and at once: the service sees its connection reset.
   * @param {number} [code]  0 to 255, for applications; a bridge has no use for it
   */
  reset(code = 0) {
    const error = toStreamError(code);
    this.#failure ??= new StreamError(code, "This page has reset the stream.", error);
    this.#given = true;
    this.#writer.abort(error).catch(() => {});
    this.#reader.cancel(error).catch(() => {});
  }
}

/**
 * Datagrams of a session: each arrives whole or not at all, and in any order. With a bridge each is
 * one UDP datagram.
 */
class Datagrams {
  #transport;
  #writer;
  #reader;
  #over = false;

  constructor(transport) {
    this.#transport = transport;
    const over = () => { this.#over = true; };
    transport.closed.then(over, over);
  }

  /** The most bytes of one that the path carries now. Longer ones are dropped by the browser. */
  get maxSize() {
    return this.#transport.datagrams.maxDatagramSize;
  }

  /**
   * @param {string|BufferSource} data
   * @returns {Promise<void>} it was sent, or dropped
   * @throws {SessionError} the session is over
   */
  async send(data) {
    const { datagrams } = this.#transport;
    if (this.#over) throw translate(null, { closed: true }); // Firefox would say nothing
    try {
      this.#writer ??= (datagrams.writable ?? datagrams.createWritable()).getWriter();
      await this.#writer.ready;
      await this.#writer.write(toBytes(data));
    } catch (error) {
      throw translate(error, { closed: true });
    }
  }

  /**
   * Waits for the next one. The browser drops old ones that nobody asks for.
   * @returns {Promise<Uint8Array|null>} null: the session was closed
   * @throws {SessionError} the session was lost
   */
  async receive() {
    try {
      this.#reader ??= this.#transport.datagrams.readable.getReader();
      const { value, done } = await this.#reader.read();
      return done ? null : value;
    } catch (error) {
      throw translate(error, { closed: true });
    }
  }

  /** All that come: `for await (const bytes of session.datagrams)`. */
  async *[Symbol.asyncIterator]() {
    for (let bytes; (bytes = await this.receive()) !== null;) yield bytes;
  }
}

function words(error) {
  return error?.message || error?.name || "no reason was given";
}

function toBytes(data) {
  if (typeof data === "string") return encoder.encode(data);
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(data);
}

function toHash(hash) {
  let value = hash;
  if (typeof hash === "string") {
    const digits = hash.replaceAll(":", "");
    if (!/^[0-9a-f]{64}$/i.test(digits))
      throw new TypeError(`"${hash}" is no SHA-256 hash: 64 hexadecimal digits are expected.`);
    value = Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
  }
  if (value?.byteLength !== 32) throw new TypeError("A certificate's SHA-256 hash has 32 bytes.");
  return { algorithm: "sha-256", value };
}

// The constructor's arguments changed with the specification; both ways are tried.
function toStreamError(code) {
  try {
    const error = new WebTransportError("", { source: "stream", streamErrorCode: code });
    if (error.streamErrorCode === code) return error;
  } catch { /* the older way, then */ }
  return new WebTransportError({ message: "", streamErrorCode: code });
}
