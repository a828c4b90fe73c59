// session - one WebTransport session, with its streams as things that report what they do.
//
// Knows nothing of the page. What happens is told to the handlers given to connect().

const encoder = new TextEncoder();

// The code that a stream's or a session's error carries, or null.
export function errorCode(error) {
  return typeof error?.streamErrorCode === "number" ? error.streamErrorCode : null;
}

// The constructor's arguments changed with the specification; both ways are tried.
function streamError(code, message) {
  try {
    const error = new WebTransportError(message, { source: "stream", streamErrorCode: code });
    if (error.streamErrorCode === code) return error;
  } catch { /* the older way, then */ }
  return new WebTransportError({ message, streamErrorCode: code });
}

// One stream. Handlers (all optional): sent(bytes), received(chunk), changed().
export class Channel {
  constructor(number, opener, readable, writable) {
    this.number = number;
    this.opener = opener; // "you" or "app"
    this.kind = readable && writable ? "bidi" : readable ? "in" : "out";
    this.sent = 0;
    this.received = 0;
    this.sending = writable ? "open" : "none"; // open, ended, reset
    this.receiving = readable ? "open" : "none";
    this.code = null; // of the first reset, either way
    this.handlers = {};
    this.writer = writable?.getWriter();
    this.reader = readable?.getReader();
    this.writer?.closed.then(() => this.#become("sending", "ended"), (e) => this.#fail("sending", e));
  }

  get open() {
    return this.sending === "open" || this.receiving === "open";
  }

  #become(half, state) {
    if (this[half] !== "open") return;
    this[half] = state;
    this.handlers.changed?.();
  }

  #fail(half, error) {
    if (this[half] === "open") this.code ??= errorCode(error);
    this.#become(half, "reset");
  }

  async write(data) {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    await this.writer.ready;
    this.sent += bytes.length;
    this.handlers.sent?.(bytes);
    await this.writer.write(bytes);
  }

  async finish() {
    await this.writer.close();
  }

  // Gives up both directions.
  reset(code) {
    this.code ??= code;
    if (this.sending === "open") {
      this.#become("sending", "reset");
      this.writer.abort(streamError(code, "reset by the page")).catch(() => {});
    }
    if (this.receiving === "open") {
      this.#become("receiving", "reset");
      this.reader.cancel(streamError(code, "stopped by the page")).catch(() => {});
    }
  }

  // Reads until the end. Resolves when nothing more can come.
  async readAll() {
    if (!this.reader) return;
    try {
      for (;;) {
        const { value, done } = await this.reader.read();
        if (done) break;
        this.received += value.length;
        this.handlers.received?.(value);
      }
      this.#become("receiving", "ended");
    } catch (error) {
      this.#fail("receiving", error);
    }
  }
}

export class Session {
  #numbers = 0;

  // handlers: stream(channel) for those the application opens, datagram(bytes), draining(),
  // closed({code, reason}) or closed({error}).
  constructor(url, hashes, handlers) {
    const options = hashes.length
      ? { serverCertificateHashes: hashes.map((value) => ({ algorithm: "sha-256", value })) }
      : {};
    this.handlers = handlers;
    this.transport = new WebTransport(url, options);
    this.transport.closed.then(
      ({ closeCode, reason }) => handlers.closed({ code: closeCode ?? 0, reason: reason ?? "" }),
      (error) => handlers.closed({ error }));
    this.transport.draining?.then(() => handlers.draining(), () => {});
  }

  async ready() {
    await this.transport.ready;
    const { datagrams } = this.transport;
    this.datagramWriter = (datagrams.createWritable?.() ?? datagrams.writable).getWriter();
    this.#accept(this.transport.incomingBidirectionalStreams,
      (s) => new Channel(++this.#numbers, "app", s.readable, s.writable));
    this.#accept(this.transport.incomingUnidirectionalStreams,
      (s) => new Channel(++this.#numbers, "app", s, null));
    this.#readDatagrams(datagrams.readable.getReader());
  }

  async #accept(incoming, make) {
    const reader = incoming.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        this.handlers.stream(make(value));
      }
    } catch { /* the session's end, which `closed` tells */ }
  }

  async #readDatagrams(reader) {
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        this.handlers.datagram(value);
      }
    } catch { /* likewise */ }
  }

  async openBidi() {
    const stream = await this.transport.createBidirectionalStream();
    return new Channel(++this.#numbers, "you", stream.readable, stream.writable);
  }

  async openUni() {
    const stream = await this.transport.createUnidirectionalStream();
    return new Channel(++this.#numbers, "you", null, stream);
  }

  sendDatagram(bytes) {
    this.datagramWriter.write(bytes).catch(() => {});
  }

  close(code, reason) {
    this.transport.close({ closeCode: code, reason });
  }
}
