"""What the sessions of /work in stuck.py do, done with the Python library. (library.c is the same with
the C library.) Tells `listening`, and how each session that it closed itself has ended.

    library.py unix:PATH
"""

import asyncio
import json
import sys

import sluice

CHUNK = 65536
STUCK, CLOSE = 2 ** 64 - 1, 2 ** 64 - 3  # wishes
CODE = 77
PERIOD = 251
PATTERN = bytes(range(PERIOD)) * (CHUNK // PERIOD + 2)


@sluice.handler
async def app(session):
    await session.accept()
    async for stream in session.streams:
        session.start(serve(session, stream))
    end = await session.wait_closed()
    if end.by == "app":
        print(json.dumps({"code": end.code, "by": end.by, "clean": end.clean}), flush=True)


async def serve(session, stream):
    try:
        wish = int.from_bytes(await stream.readexactly(8))
        if wish == CLOSE:
            await session.close(CODE)
        elif wish == STUCK:
            await session.wait_closed()
        else:
            await answer(stream, wish)
    except sluice.StreamReset:
        stream.reset(0)
    except sluice.StreamStopped:
        pass


async def answer(stream, size):
    sent = 0
    while sent < size:
        n = min(CHUNK, size - sent)
        await stream.write(PATTERN[sent % PERIOD:sent % PERIOD + n])
        sent += n
    async for _ in stream:
        pass
    await stream.end()


async def main():
    server = sluice.Server(app, bind=sys.argv[1])
    serving = asyncio.create_task(server.serve())
    await server.started()
    print("listening", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
