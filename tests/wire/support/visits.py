"""Sessions of an application, from their beginning to their end."""

from support.quicclient import Client


def opened(app, proxy, path="/", client=None):
    client = client or Client(proxy.port)
    asked = client.session(path)
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    return client, asked, session


def status(proxy, path="/"):
    with Client(proxy.port) as client:
        return client.session(path).wait_response()


def check_alive(client, asked, session, words):
    """A stream there and back."""
    stream = asked.open(data=words, end=True)
    client.flush()
    received = session.wait("webtransport.stream.receive", data=words, stream_ended=True)
    session.stream_send(received["stream_id"], words[::-1], end=True)
    client.wait(lambda: stream.ended)
    assert stream.data == words[::-1]


def end(client, asked, session):
    asked.close(3, b"bye")
    client.flush()
    assert session.wait("webtransport.disconnect")["code"] == 3
    session.close()
    client.close()
