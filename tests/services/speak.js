// What pages need to talk to the services: put before each scenario.
'use strict';

// A stream's bytes, in the portions that a protocol wants.
class Bytes {
  constructor(readable) {
    this.readable = readable;
    this.reader = readable.getReader();
    this.have = new Uint8Array(0);
  }

  // False at the end.
  async more() {
    const { value, done } = await this.reader.read();
    if (done) return false;
    const whole = new Uint8Array(this.have.length + value.length);
    whole.set(this.have);
    whole.set(value, this.have.length);
    this.have = whole;
    return true;
  }

  async take(count) {
    while (this.have.length < count) {
      if (!await this.more()) throw new Error(`the service ended after ${this.have.length} of ${count} bytes`);
    }
    const taken = this.have.slice(0, count);
    this.have = this.have.slice(count);
    return taken;
  }

  // Without its end of line.
  async line() {
    let at;
    while ((at = this.have.indexOf(10)) < 0) {
      if (!await this.more()) throw new Error('the service ended within a line');
    }
    return wire.text(await this.take(at + 1)).replace(/\r?\n$/, '');
  }

  async toTheEnd() {
    while (await this.more());
    return this.have;
  }
}

// A stream with both halves at hand.
async function openStream(session) {
  const stream = await session.createBidirectionalStream();
  return { bytes: new Bytes(stream.readable), writer: stream.writable.getWriter() };
}

// ---- Redis (RESP2) ----

const redis = {
  command(...words) {
    return `*${words.length}\r\n` + words.map((w) => `$${wire.bytes(w).length}\r\n${w}\r\n`).join('');
  },

  async reply(bytes) {
    const line = await bytes.line();
    const rest = line.slice(1);
    switch (line[0]) {
      case '+': return rest;
      case ':': return Number(rest);
      case '-': throw new Error(rest);
      case '$': {
        if (rest === '-1') return null;
        const text = wire.text(await bytes.take(Number(rest)));
        await bytes.take(2);
        return text;
      }
      case '*': {
        const items = [];
        for (let i = 0; i < Number(rest); i++) items.push(await redis.reply(bytes));
        return items;
      }
      default: throw new Error(`not Redis: ${line}`);
    }
  },
};

// ---- MQTT 3.1.1 ----

const mqtt = {
  CONNACK: 2, PUBLISH: 3, PUBACK: 4, SUBACK: 9,

  text(text) {
    const bytes = wire.bytes(text);
    return [bytes.length >> 8, bytes.length & 255, ...bytes];
  },

  packet(first, body) {
    const length = [];
    let rest = body.length;
    do {
      length.push(rest % 128 | (rest > 127 ? 128 : 0));
      rest = Math.floor(rest / 128);
    } while (rest > 0);
    return new Uint8Array([first, ...length, ...body]);
  },

  connect(client) {
    return mqtt.packet(0x10, [...mqtt.text('MQTT'), 4, 2, 0, 60, ...mqtt.text(client)]);
  },

  subscribe(id, topic) { // QoS 1
    return mqtt.packet(0x82, [id >> 8, id & 255, ...mqtt.text(topic), 1]);
  },

  publish(id, topic, payload) { // QoS 1
    return mqtt.packet(0x32, [...mqtt.text(topic), id >> 8, id & 255, ...wire.bytes(payload)]);
  },

  puback(id) {
    return mqtt.packet(0x40, [id >> 8, id & 255]);
  },

  disconnect() {
    return mqtt.packet(0xe0, []);
  },

  // The next packet, which must be of this type: {id, topic, payload, body}.
  async expect(bytes, type) {
    const [first] = await bytes.take(1);
    let length = 0;
    let scale = 1;
    for (let byte = 128; byte & 128; scale *= 128) {
      [byte] = await bytes.take(1);
      length += (byte & 127) * scale;
    }
    const body = await bytes.take(length);
    if (first >> 4 !== type) throw new Error(`packet of type ${first >> 4}, expected ${type}`);
    if (type !== mqtt.PUBLISH) return { body, id: body[0] << 8 | body[1] };
    const end = 2 + (body[0] << 8 | body[1]);
    return { topic: wire.text(body.slice(2, end)), id: body[end] << 8 | body[end + 1],
      payload: wire.text(body.slice(end + 2)), body };
  },

  // A stream on which the broker has said welcome.
  async open(session, client) {
    const stream = await openStream(session);
    await stream.writer.write(mqtt.connect(client));
    const { body } = await mqtt.expect(stream.bytes, mqtt.CONNACK);
    if (body[1] !== 0) throw new Error(`refused with ${body[1]}`);
    return stream;
  },
};

// ---- DNS ----

const dns = {
  A: 1, TXT: 16,

  // With EDNS, which allows answers of 1200 bytes.
  query(id, name, type) {
    const labels = name.split('.').flatMap((l) => [l.length, ...wire.bytes(l)]);
    return new Uint8Array([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1,
      ...labels, 0, 0, type, 0, 1, 0, 0, 41, 1200 >> 8, 1200 & 255, 0, 0, 0, 0, 0, 0]);
  },

  name(view, at) {
    while (view[at]) {
      if (view[at] >= 192) return at + 2;
      at += view[at] + 1;
    }
    return at + 1;
  },

  // {id, code, answers: [bytes of the data of each]}
  parse(view) {
    const word = (at) => view[at] << 8 | view[at + 1];
    let at = 12;
    for (let i = 0; i < word(4); i++) at = dns.name(view, at) + 4;
    const answers = [];
    for (let i = 0; i < word(6); i++) {
      at = dns.name(view, at) + 10;
      answers.push(Array.from(view.slice(at, at + word(at - 2))));
      at += word(at - 2);
    }
    return { id: word(0), code: view[3] & 15, answers };
  },

  // Asks again every second, as datagrams may be lost, until each of {id: [name, type]} is answered.
  async ask(session, questions) {
    const writer = wire.datagramWriter(session).getWriter();
    const reader = session.datagrams.readable.getReader();
    const answers = {};
    const missing = () => Object.keys(questions).filter((id) => !(id in answers));
    const send = () => missing().forEach((id) => {
      writer.write(dns.query(Number(id), ...questions[id])).catch(() => {});
    });
    send();
    const again = setInterval(send, 1000);
    while (missing().length) {
      const { value, done } = await reader.read();
      if (done) throw new Error('the session has ended');
      const answer = dns.parse(value);
      answers[answer.id] = answer;
    }
    clearInterval(again);
    return answers;
  },
};
