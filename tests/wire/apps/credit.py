"""Applications of test_small_windows.py, on the Python library."""

import asyncio

import sluice

MUCH = 1 << 20


async def asgi_echo(scope, receive, send):
    if scope["type"] != "webtransport":
        return
    await send({"type": "webtransport.accept"})
    while (message := await receive())["type"] != "webtransport.disconnect":
        if message["type"] == "webtransport.stream.receive":
            await send({"type": "webtransport.stream.send", "stream_id": message["stream_id"],
                        "data": message["data"], "end_stream": message["stream_ended"]})


@sluice.handler
async def echo(session):
    """Bidirectional streams come back, of unidirectional ones much is wanted at once. A datagram
    cancels whatever has been begun, and comes back when that is done."""
    await session.accept()
    tasks = []
    session.start(cancel(session, tasks))
    async for stream in session.streams:
        task = session.start(echo_stream(stream) if stream.writable else read_much(stream))
        await asyncio.sleep(0)  # when it has begun, it gives its stream up itself
        tasks.append(task)


async def echo_stream(stream):
    async with stream:
        async for data in stream:
            await stream.write(data)


async def read_much(stream):
    async with stream:
        await stream.readexactly(MUCH)


async def cancel(session, tasks):
    async for data in session.datagrams:
        begun, tasks[:] = tasks[:], []
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await session.send_datagram(data)
