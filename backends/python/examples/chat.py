"""A chat: each line on a client's bidirectional stream goes to everybody. `/ann` in the URL is the name.

    python -m sluice chat:app --listen localhost:4433
"""

import asyncio

import sluice

Outbox = asyncio.Queue[str]
everybody: set[Outbox] = set()


def tell(line: str) -> None:
    for outbox in everybody:
        if outbox.full():  # somebody does not read: the oldest line goes, nobody else waits
            outbox.get_nowait()
        outbox.put_nowait(line)


@sluice.handler
async def app(session: sluice.Session) -> None:
    name = session.path.strip("/")
    if not name:
        await session.reject(404, body="the path is your name: /ann\n")
        return
    await session.accept()
    outbox: Outbox = asyncio.Queue(maxsize=100)
    try:
        async with await session.accept_stream() as stream:
            if not stream.writable:
                await session.close(1, "open a bidirectional stream")
                return
            everybody.add(outbox)
            tell(f"{name} is here")
            session.start(deliver(outbox, stream))
            await listen(name, stream)
    finally:
        everybody.discard(outbox)
        tell(f"{name} has left")


async def listen(name: str, stream: sluice.Stream) -> None:
    line = b""
    async for data in stream:
        *lines, line = (line + data).split(b"\n")
        for text in lines:
            tell(f"{name}: {text.decode(errors='replace')}")
        if len(line) > 4096:
            stream.stop(413)


async def deliver(outbox: Outbox, stream: sluice.Stream) -> None:
    while True:
        await stream.write(await outbox.get() + "\n")
