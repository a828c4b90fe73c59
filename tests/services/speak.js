// What pages need to talk to the services, on the streams of backends/js; put before each scenario.
'use strict';

// ---- Redis (RESP2) ----

const redis = {
  command(...words) {
    return `*${words.length}\r\n` + words.map((w) => `$${wire.bytes(w).length}\r\n${w}\r\n`).join('');
  },

  async reply(stream) {
    const line = await stream.readLine();
    const rest = line.slice(1);
    switch (line[0]) {
      case '+': return rest;
      case ':': return Number(rest);
      case '-': throw new Error(rest);
      case '$': {
        if (rest === '-1') return null;
        const text = wire.text(await stream.readExactly(Number(rest)));
        await stream.readExactly(2);
        return text;
      }
      case '*': {
        const items = [];
        for (let i = 0; i < Number(rest); i++) items.push(await redis.reply(stream));
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
  async expect(stream, type) {
    const [first] = await stream.readExactly(1);
    let length = 0;
    let scale = 1;
    for (let byte = 128; byte & 128; scale *= 128) {
      [byte] = await stream.readExactly(1);
      length += (byte & 127) * scale;
    }
    const body = await stream.readExactly(length);
    if (first >> 4 !== type) throw new Error(`packet of type ${first >> 4}, expected ${type}`);
    if (type !== mqtt.PUBLISH) return { body, id: body[0] << 8 | body[1] };
    const end = 2 + (body[0] << 8 | body[1]);
    return { topic: wire.text(body.slice(2, end)), id: body[end] << 8 | body[end + 1],
      payload: wire.text(body.slice(end + 2)), body };
  },

  // A stream on which the broker has said welcome.
  async open(session, client) {
    const stream = await session.open();
    await stream.write(mqtt.connect(client));
    const { body } = await mqtt.expect(stream, mqtt.CONNACK);
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
    const answers = {};
    const missing = () => Object.keys(questions).filter((id) => !(id in answers));
    const send = () => missing().forEach((id) => {
      session.datagrams.send(dns.query(Number(id), ...questions[id]));
    });
    send();
    const again = setInterval(send, 1000);
    while (missing().length) {
      const answer = dns.parse(await session.datagrams.receive());
      answers[answer.id] = answer;
    }
    clearInterval(again);
    return answers;
  },
};
