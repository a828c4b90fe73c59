// intake - bytes that have arrived and were not asked for yet, and the ways of asking.
//
// Knows nothing of WebTransport: it pulls pieces from the function it is given, only when it is asked
// for more than it has, so that a page which does not read holds up the sender.

import { EndOfStream, TooLong } from "./errors.js";

const LINE_LIMIT = 1024 * 1024;
const ALL_LIMIT = 64 * 1024 * 1024;
const LF = 10, CR = 13;
const EMPTY = new Uint8Array(0);
const decoder = new TextDecoder();

export class Intake {
  #pull;
  #pieces = []; // what is here; the first begins at #offset
  #offset = 0;
  #length = 0; // bytes from #offset on
  #ended = false;
  #busy = false;

  /** @param {() => Promise<Uint8Array|null>} pull  the next piece; null at the end */
  constructor(pull) {
    this.#pull = pull;
  }

  read() {
    return this.#alone(async () => {
      if (!this.#length && !await this.#more()) return null;
      return this.#take(this.#pieces[0].length - this.#offset);
    });
  }

  readExactly(length) {
    if (!Number.isInteger(length) || length < 0) throw new RangeError(`${length} is no number of bytes`);
    return this.#alone(async () => {
      while (this.#length < length) await this.#need();
      return this.#take(length);
    });
  }

  readUntil(delimiter, { limit = LINE_LIMIT } = {}) {
    if (!delimiter.length) throw new RangeError("a delimiter has at least one byte");
    return this.#alone(async () => this.#take(await this.#seek(delimiter, limit, () => this.#need())));
  }

  readLine({ limit = LINE_LIMIT } = {}) {
    return this.#alone(async () => {
      const end = await this.#seek([LF], limit, () => this.#more());
      if (end === 0) return null;
      const line = this.#take(end);
      let length = line.length;
      if (line[length - 1] === LF) length -= line[length - 2] === CR ? 2 : 1;
      return decoder.decode(line.subarray(0, length));
    });
  }

  readAll({ limit = ALL_LIMIT } = {}) {
    return this.#alone(async () => {
      do if (this.#length > limit) throw new TooLong(limit);
      while (await this.#more());
      return this.#take(this.#length);
    });
  }

  async #alone(ask) {
    if (this.#busy) throw new TypeError("this stream is being read already");
    this.#busy = true;
    try {
      return await ask();
    } finally {
      this.#busy = false;
    }
  }

  // Waits for another piece; false at the end.
  async #more() {
    while (!this.#ended) {
      const piece = await this.#pull();
      if (piece === null) this.#ended = true;
      else if (piece.length) {
        this.#pieces.push(piece);
        this.#length += piece.length;
        return true;
      }
    }
    return false;
  }

  async #need() {
    if (!await this.#more()) throw new EndOfStream(this.#take(this.#length));
    return true;
  }

  // How many bytes there are up to the delimiter and with it; all there are when more() finds the end.
  async #seek(delimiter, limit, more) {
    let from = 0; // no delimiter begins before it
    for (;;) {
      const at = this.#find(delimiter, from);
      if (at >= 0 && at + delimiter.length <= limit) return at + delimiter.length;
      if (at >= 0 || this.#length >= limit) throw new TooLong(limit);
      from = Math.max(0, this.#length - delimiter.length + 1);
      if (!await more()) return this.#length;
    }
  }

  // Where the delimiter begins, at `from` or after it; -1 if it is not there.
  #find(delimiter, from) {
    let start = -this.#offset; // of the piece
    for (let i = 0; i < this.#pieces.length; start += this.#pieces[i++].length) {
      const piece = this.#pieces[i];
      let k = Math.max(from - start, 0);
      for (; k < piece.length && (k = piece.indexOf(delimiter[0], k)) >= 0; k++)
        if (this.#holds(delimiter, i, k)) return start + k;
    }
    return -1;
  }

  // Whether all of the delimiter is there from byte k of piece i on.
  #holds(delimiter, i, k) {
    for (const byte of delimiter) {
      while (i < this.#pieces.length && k === this.#pieces[i].length) i++, k = 0;
      if (i === this.#pieces.length || this.#pieces[i][k++] !== byte) return false;
    }
    return true;
  }

  // The first bytes; a view into a piece where that is possible.
  #take(length) {
    if (!length) return EMPTY;
    const first = this.#pieces[0];
    if (first.length - this.#offset >= length) {
      const view = first.subarray(this.#offset, this.#offset + length);
      this.#drop(length);
      return view;
    }
    const whole = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const part = this.#pieces[0].subarray(this.#offset, this.#offset + length - at);
      whole.set(part, at);
      at += part.length;
      this.#drop(part.length);
    }
    return whole;
  }

  // Lets go of bytes of the first piece.
  #drop(length) {
    this.#length -= length;
    this.#offset += length;
    if (this.#offset < this.#pieces[0].length) return;
    this.#pieces.shift();
    this.#offset = 0;
  }
}
