"""A WebSocket server that echoes messages. Prints its port, then serves until it is ended."""

import asyncio
import logging

from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    # The cases break the protocol on purpose.
    logging.disable(logging.CRITICAL)
    async with serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
