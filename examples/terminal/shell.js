// shell - one shell on one stream, as shell.py frames it: a letter, two bytes of length, the rest.

const encoder = new TextEncoder();
const PIECE = 16384;

function message(kind, body) {
  const whole = new Uint8Array(3 + body.length);
  whole.set([kind.charCodeAt(0), body.length >> 8, body.length & 255]);
  whole.set(body, 3);
  return whole;
}

export class Shell {
  #stream;

  constructor(stream) {
    this.#stream = stream;
  }

  /** Keys, as text. */
  async type(text) {
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length; at += PIECE)
      await this.#stream.write(message("d", bytes.subarray(at, at + PIECE)));
  }

  resize(rows, columns) {
    return this.#stream.write(message("r", Uint8Array.of(rows >> 8, rows & 255, columns >> 8, columns & 255)));
  }

  /**
   * Gives what the shell writes to show(bytes) and waits for it each time: a screen that is slow
   * holds up the shell.
   * @returns {Promise<number>} its exit status
   */
  async run(show) {
    for (;;) {
      const [kind, high, low] = await this.#stream.readExactly(3);
      const body = await this.#stream.readExactly(high * 256 + low);
      if (kind === 0x64) await show(body);
      else if (kind === 0x78) return body[0];
    }
  }

  /** Hangs up. */
  close() {
    this.#stream.reset();
  }
}
