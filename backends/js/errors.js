// errors - what can go wrong, told apart by class and by `kind`.

/**
 * The codes with which a bridge ends a stream, by kind. What the kinds mean:
 *
 * - refused: nobody listens at the service's address
 * - unreachable: there is no way to the address, or its name is unknown
 * - timeout: no connection within the backend's connect_timeout
 * - reset: the service, or the network, broke the connection
 * - full: no address had room for another connection
 * - tls: the TLS handshake with the service failed, or its certificate is not to be trusted
 * - unsupported: the backend has no address for streams
 */
export const CODES = Object.freeze({
  refused: 1, unreachable: 2, timeout: 3, reset: 4, full: 5, tls: 6, unsupported: 7,
});

const SENTENCES = {
  refused: "The service refused the connection: nobody listens at its address.",
  unreachable: "The service cannot be reached.",
  timeout: "The service did not answer in time.",
  reset: "The service reset the connection.",
  full: "There is no room for another connection to the service.",
  tls: "The TLS connection to the service failed.",
  unsupported: "This route leads to no service for streams.",
  unknown: "The stream was reset; the browser does not tell why.",
  other: "The stream was reset.",
};

/** A stream that is broken. */
export class StreamError extends Error {
  /**
   * @param {number|null} code
   * @param {string} [message]
   * @param {unknown} [cause]  the browser's error
   */
  constructor(code, message, cause) {
    const known = Object.entries(CODES).find(([, number]) => number === code);
    const kind = known ? known[0] : code === null ? "unknown" : "other";
    super(message ?? SENTENCES[kind] + (kind === "other" ? ` Its code is ${code}.` : ""), { cause });
    this.name = "StreamError";
    /**
     * A name of CODES; "other" for a code that is not among them; "unknown" if the browser tells no
     * code, as Firefox does not for a stream that was reset.
     */
    this.kind = kind;
    /** The code, or null. */
    this.code = code;
  }
}

/** There is no session: kind "failed" (it never came to be), "lost" (it broke) or "closed". */
export class SessionError extends Error {
  constructor(kind, message, cause) {
    super(message, { cause });
    this.name = "SessionError";
    this.kind = kind;
  }
}

/** The service ended the stream in the middle of what was asked for. */
export class EndOfStream extends Error {
  constructor(partial) {
    super(`The stream ended after ${partial.length} bytes of what was expected.`);
    this.name = "EndOfStream";
    /** @type {Uint8Array} what came before the end */
    this.partial = partial;
  }
}

/** More bytes than the limit that was given. They stay to be read. */
export class TooLong extends Error {
  constructor(limit) {
    super(`What was asked for is longer than the limit of ${limit} bytes.`);
    this.name = "TooLong";
    this.limit = limit;
  }
}

/**
 * One of ours for one of the browser's. closed: it can only mean that the session is over.
 */
export function translate(error, { closed = false } = {}) {
  if (error instanceof StreamError || error instanceof SessionError) return error;
  if (closed || error?.source === "session")
    return new SessionError("closed", "The session is over.", error);
  const code = error?.streamErrorCode;
  return new StreamError(typeof code === "number" ? code : null, undefined, error);
}
