"""Echoes streams and datagrams; what arrives on a unidirectional stream goes back on a new one.

    python -m sluice echo:app --listen localhost:4433
"""

import sluice


@sluice.handler
async def app(session: sluice.Session) -> None:
    await session.accept()
    session.start(echo_datagrams(session))
    async for stream in session.streams:
        session.start(echo(session, stream))


async def echo(session: sluice.Session, stream: sluice.Stream) -> None:
    answer = stream if stream.writable else await session.open_uni()
    async with stream, answer:  # ended at the end, reset after an error
        async for data in stream:
            await answer.write(data)


async def echo_datagrams(session: sluice.Session) -> None:
    async for data in session.datagrams:
        await session.send_datagram(data)
