"""mosquitto: pages that publish and subscribe (MQTT 3.1.1), and its own clients over the bridge."""

import subprocess

import pages
import pytest
from servers import program, run

COUNT = 100

SUBSCRIBE = """
    const stream = await mqtt.open(session, 'subscriber');
    await stream.write(mqtt.subscribe(1, 'house/+/temperature'));
    await mqtt.expect(stream, mqtt.SUBACK);
    const heard = [];
    while (heard.length < args.count) {
      const { id, topic, payload } = await mqtt.expect(stream, mqtt.PUBLISH);
      await stream.write(mqtt.puback(id));
      heard.push([topic, payload]);
    }
    await stream.write(mqtt.disconnect());
    await stream.readAll(); // the broker ends the connection
    return heard;
"""

PUBLISH = """
    const stream = await mqtt.open(session, 'publisher');
    for (let i = 0; i < args.count; i++) {
      await stream.write(mqtt.publish(i + 1, `house/${i % 3}/temperature`, `${i} degrees, ünd ½`));
    }
    for (let i = 0; i < args.count; i++) {
      if ((await mqtt.expect(stream, mqtt.PUBACK)).id !== i + 1) throw new Error('another one');
    }
    await stream.write(mqtt.disconnect());
    await stream.readAll();
"""

MESSAGES = [[f"house/{i % 3}/temperature", f"{i} degrees, ünd ½"] for i in range(COUNT)]


@pytest.mark.parametrize("publisher, subscriber", [("chromium", "firefox"), ("firefox", "chromium")])
def test_one_browser_publishes_to_the_other(mosquitto, bridge, browsers, publisher, subscriber):
    proxy = bridge(addresses=mosquitto.address)
    listening = pages.start(browsers[subscriber], SUBSCRIBE, proxy, count=COUNT)
    mosquitto.wait_log("Sending SUBACK to subscriber")
    pages.run(browsers[publisher], PUBLISH, proxy, count=COUNT)
    assert listening.result() == MESSAGES
    for who in ("publisher", "subscriber"):
        mosquitto.wait_log(f"Client {who} disconnected")
    log = mosquitto.log()
    assert log.count("Received PUBLISH from publisher") == COUNT
    assert log.count("Sending PUBLISH to subscriber") == COUNT
    assert log.count("Received PUBACK from subscriber") == COUNT


def test_its_own_clients(mosquitto, tunnel):
    port = str(tunnel(addresses=mosquitto.address).port)
    listener = subprocess.Popen([program("mosquitto_sub"), "-p", port, "-i", "listener", "-t", "news", "-q", "1",
                                 "-C", "3"], stdout=subprocess.PIPE, text=True)
    try:
        mosquitto.wait_log("Sending SUBACK to listener")
        run(program("mosquitto_pub"), "-p", port, "-i", "speaker", "-t", "news", "-q", "1", "-l",
            input="one\ntwo\nthree\n")
        assert listener.communicate(timeout=30)[0] == "one\ntwo\nthree\n"
    finally:
        listener.kill()
    assert mosquitto.log().count("Received PUBLISH from speaker") == 3
