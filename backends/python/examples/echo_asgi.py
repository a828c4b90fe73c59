"""Echoes streams and datagrams, as a plain ASGI application.

    python -m sluice echo_asgi:app --listen localhost:4433
"""

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "webtransport":
        return
    await send({"type": "webtransport.accept"})
    while True:
        message = await receive()
        if message["type"] == "webtransport.disconnect":
            break
        if message["type"] == "webtransport.stream.receive" and message["stream_id"] & 2 == 0:  # bidirectional
            await send(
                {
                    "type": "webtransport.stream.send",
                    "stream_id": message["stream_id"],
                    "data": message["data"],
                    "end_stream": message["stream_ended"],
                }
            )
        elif message["type"] == "webtransport.datagram.receive":
            await send({"type": "webtransport.datagram.send", "data": message["data"]})
