#!/usr/bin/env python3
"""A slow network on loopback: passes connections on with a delay and a limit of bytes a second.

Usage:  proxy.py LISTEN_PORT TARGET_PORT [--delay-ms D] [--up BYTES_PER_S] [--down BYTES_PER_S]

`up` is towards the target, `down` back; a limited direction also reads late, through small buffers,
as a client does that is slow to read. 0: no limit. Ends by a signal.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

CHUNK, SMALL_BUFFER = 65_536, 16_384


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float,
               rate: float) -> None:
    """Pass bytes on, each piece `delay` seconds after it came, at most `rate` bytes a second."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=0 if rate <= 0 else 4)

    async def deliver() -> None:
        free_at = 0.0
        while True:
            came, piece = await pieces.get()
            begin = max(came + delay, free_at)
            free_at = begin + (len(piece) / rate if rate > 0 else 0.0)
            await asyncio.sleep(max((free_at if rate > 0 else begin) - loop.time(), 0))
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.ensure_future(deliver())
    try:
        while True:
            piece = await reader.read(CHUNK if rate <= 0 else 4096)
            await pieces.put((loop.time(), piece))
            if not piece:
                break
        await delivery
    except (ConnectionError, asyncio.CancelledError):
        delivery.cancel()


async def serve(options: argparse.Namespace) -> None:
    """Accept connections for ever."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = socket.socket()
        if options.down > 0:
            target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        target.connect(("127.0.0.1", options.target))
        target.setblocking(False)
        back, forward = await asyncio.open_connection(sock=target, limit=CHUNK)
        await asyncio.gather(pump(reader, forward, options.delay_ms / 1e3, options.up),
                             pump(back, writer, options.delay_ms / 1e3, options.down))

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if options.up > 0:  # inherited by the connections; before listen() it bounds their windows
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    listener.bind(("127.0.0.1", options.listen))
    server = await asyncio.start_server(accept, sock=listener, limit=CHUNK)
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


def main(argv: list[str]) -> int:
    """Pass connections on until a signal comes."""
    parser = argparse.ArgumentParser(description="A slow network on loopback.")
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--up", type=float, default=0.0)
    parser.add_argument("--down", type=float, default=0.0)
    options = parser.parse_args(argv)
    try:
        asyncio.run(serve(options))
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
