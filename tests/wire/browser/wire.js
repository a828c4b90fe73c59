// What the scenarios share, inside the page.
'use strict';
const wire = {
  // Firefox collects a session that nobody holds, and its promises then never settle.
  sessions: [],

  // options: {hash: base64 of the certificate's SHA-256, ...options of WebTransport}
  open(url, options = {}) {
    const { hash, ...rest } = options;
    if (hash) {
      rest.serverCertificateHashes = [{ algorithm: 'sha-256', value: wire.fromBase64(hash) }];
    }
    const session = new WebTransport(url, rest);
    // Scenarios await what they care about; the rest must not count as unhandled.
    session.closed.catch(() => {});
    session.ready.catch(() => {});
    wire.sessions.push(session);
    return session;
  },

  async connect(url, options) {
    const session = wire.open(url, options);
    await session.ready;
    return session;
  },

  fromBase64(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  },

  bytes(text) {
    return new TextEncoder().encode(text);
  },

  text(bytes) {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  },

  // Bytes that are the same in every run and do not repeat within any buffer (xorshift32).
  pattern(length, seed) {
    const words = new Uint32Array(Math.ceil(length / 4));
    let x = seed >>> 0 || 1;
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13; x >>>= 0;
      x ^= x >>> 17;
      x ^= x << 5; x >>>= 0;
      words[i] = x;
    }
    return new Uint8Array(words.buffer, 0, length);
  },

  // All of a stream until its end.
  async readAll(readable) {
    const reader = readable.getReader();
    const parts = [];
    let length = 0;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
    const whole = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  },

  async writeAll(writable, data, piece = 65536) {
    const writer = writable.getWriter();
    for (let at = 0; at < data.length; at += piece) {
      await writer.ready;
      writer.write(data.subarray(at, at + piece)).catch(() => {});
    }
    await writer.close();
  },

  // The next stream or datagram of a stream of them, without holding the lock.
  async next(readable) {
    const reader = readable.getReader();
    const { value, done } = await reader.read();
    reader.releaseLock();
    if (done) throw new Error('ended before anything came');
    return value;
  },

  same(a, b) {
    return a.length === b.length && a.every((x, i) => x === b[i]);
  },

  // Chromium has datagrams.writable, newer browsers only createWritable().
  datagramWriter(session) {
    return session.datagrams.writable || session.datagrams.createWritable();
  },

  // The constructor's arguments have changed over time.
  streamError(code) {
    let error;
    try {
      error = new WebTransportError('', { source: 'stream', streamErrorCode: code });
      if (error.streamErrorCode === code) return error;
    } catch (e) { /* the older form */ }
    return new WebTransportError({ message: '', streamErrorCode: code });
  },

  async sha256(bytes) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return Array.from(digest, (b) => b.toString(16).padStart(2, '0')).join('');
  },

  // A promise's outcome as plain data: {value} or {error: {name, source, code, message}}.
  async outcome(promise) {
    try {
      return { value: await promise };
    } catch (e) {
      return {
        error: {
          name: e.name,
          source: e.source === undefined ? null : e.source,
          code: e.streamErrorCode === undefined ? null : e.streamErrorCode,
          message: e.message,
        },
      };
    }
  },

  // Writes, without waiting: what the peer answers may fail the write, for that is done only after
  // the browser's network process has said so, on another way than the answer's.
  say(writer, text) {
    writer.write(wire.bytes(text)).catch(() => {});
  },

  // How the session ended: {code, reason} or {error}.
  async ending(session) {
    const { value, error } = await wire.outcome(session.closed);
    if (error) return { error };
    return { code: value.closeCode, reason: value.reason };
  },

  // Resolves when the condition holds; looks at it after every task.
  async until(condition) {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  },
};
window.wire = wire;
