// The body of an async function (args, wire), run in the page of tests/wire/browser, whose helpers wire
// has: tries args.feature and returns {result, why}.
'use strict';
const open = (key) => wire.connect(`${args.url}?key=${key}`, { hash: args.hash });

function expect(condition, words) {
  if (!condition) throw new Error(words);
}

const none = (why) => ({ result: 'none', why });

// Opens a stream, writes text, and its end if asked to.
async function command(session, text, end = false) {
  const stream = await session.createBidirectionalStream();
  const writer = stream.writable.getWriter();
  writer.closed.catch(() => {});
  await writer.write(wire.bytes(text));
  if (end) writer.close().catch(() => {});
  return { stream, writer };
}

async function answer(session, text) {
  const { stream } = await command(session, text, true);
  return wire.text(await wire.readAll(stream.readable));
}

// What the application says of the session that was opened with this key.
async function seen(session, key) {
  return JSON.parse(await answer(session, `seen ${key}\n`));
}

// A stream of which something has been echoed.
async function started(session) {
  const { stream, writer } = await command(session, 'echo\nx');
  const reader = stream.readable.getReader();
  await reader.read();
  return { stream, writer, reader };
}

// The code of the failure with which a promise ends.
async function failure(promise) {
  const { error } = await wire.outcome(promise);
  expect(error, 'there was no error');
  return error;
}

const features = {
  async connect() {
    await open('connect');
  },

  async bidi() {
    const session = await open('bidi');
    const data = wire.pattern(1000000, 1);
    const { stream, writer } = await command(session, 'echo\n');
    writer.releaseLock();
    const [, got] = await Promise.all([wire.writeAll(stream.writable, data), wire.readAll(stream.readable)]);
    expect(wire.same(got, data), 'other bytes came back');
  },

  async uni() {
    const session = await open('uni');
    const data = wire.pattern(100000, 2);
    const stream = await session.createUnidirectionalStream();
    await wire.writeAll(stream, data);
    const got = await wire.readAll(await wire.next(session.incomingUnidirectionalStreams));
    expect(wire.same(got, data), 'other bytes came back');
  },

  async server_bidi() {
    const session = await open('server_bidi');
    const asked = await command(session, 'bidi\n');
    const opened = await wire.next(session.incomingBidirectionalStreams);
    expect(wire.text(await wire.readAll(opened.readable)) === 'hello', 'not hello');
    await wire.writeAll(opened.writable, wire.bytes('there'));
    expect(wire.text(await wire.readAll(asked.stream.readable)) === 'got:there', 'not got:there');
  },

  async server_uni() {
    const session = await open('server_uni');
    await command(session, 'uni\n');
    const opened = await wire.next(session.incomingUnidirectionalStreams);
    expect(wire.text(await wire.readAll(opened)) === 'hello', 'not hello');
  },

  async datagram() {
    const session = await open('datagram');
    const writer = wire.datagramWriter(session).getWriter();
    // One may be lost.
    const again = setInterval(() => writer.write(wire.bytes('ping')).catch(() => {}), 300);
    const got = await wire.next(session.datagrams.readable);
    clearInterval(again);
    expect(wire.text(got) === 'ping', 'not ping');
  },

  async reset() {
    const session = await open('reset');
    const { writer } = await started(session);
    await writer.abort(wire.streamError(42));
    const told = await seen(session, 'reset');
    expect(told.resets.length === 1 && told.resets[0] === 42, JSON.stringify(told));
  },

  async stop() {
    const session = await open('stop');
    const { reader } = await started(session);
    await reader.cancel(wire.streamError(43));
    const told = await seen(session, 'stop');
    if (args.kind === 'firefox' && told.stops.length === 0) {
      return none('it sends no STOP_SENDING when a page cancels a reader');
    }
    expect(told.stops.length === 1 && told.stops[0] === 43, JSON.stringify(told));
  },

  async server_reset() {
    const session = await open('server_reset');
    const { stream } = await command(session, 'reset 44\n');
    const error = await failure(wire.readAll(stream.readable));
    if (args.kind === 'firefox' && error.code === null) {
      return none('it tells the page of the reset, but no code');
    }
    expect(error.code === 44, JSON.stringify(error));
  },

  async server_stop() {
    const session = await open('server_stop');
    const { writer } = await command(session, 'stop 45\n');
    const error = await failure(writer.closed);
    expect(error.code === 45, JSON.stringify(error));
  },

  async close() {
    const session = await open('close');
    session.close({ closeCode: 7, reason: 'bye' });
    const end = (await seen(await open('close-asked'), 'close')).disconnect;
    expect(end.code === 7 && end.reason === 'bye' && end.by === 'client', JSON.stringify(end));
  },

  async server_close() {
    const session = await open('server_close');
    await command(session, 'close 8 so long\n');
    const end = await wire.ending(session);
    expect(end.code === 8 && end.reason === 'so long', JSON.stringify(end));
  },

  async reject() {
    const session = wire.open(`${args.url}-none`, { hash: args.hash });
    await failure(session.ready);
    return { result: 'pass', why: 'a page is not told the status' };
  },

  async drain() {
    if (!('draining' in WebTransport.prototype)) return none('there is no WebTransport.draining');
    const session = await open('drain');
    await command(session, 'drain\n');
    await session.draining;
  },
};
return (await features[args.feature]()) || { result: 'pass' };
