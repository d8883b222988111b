"""`l7lb register`: a command that is a backend while it runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import ssl
import sys
from typing import Any

from settings.units import duration

EXAMPLE = """\
example:
  LB_ADMIN__TOKEN=... l7lb register --to https://lb/- --pool web --url http://10.0.0.5:8000 -- uvicorn shop:app
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "register",
        help="run a command, registered as a backend while it serves",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--to", required=True, metavar="URL", help="of the control plane, such as https://lb/-")
    parser.add_argument("--pool", required=True, help="name of the pool")
    parser.add_argument("--url", required=True, help="of the backend, as l7lb reaches it")
    parser.add_argument("--id", default="", help="of the backend; host:port of its URL when not given")
    parser.add_argument("--weight", type=int, default=1, help="share of the traffic beside the others")
    parser.add_argument("--ttl", type=_seconds, default=15.0, help='gone when not heard of for so long ("15s")')
    parser.add_argument("--drain", type=_seconds, default=1.0, help='from being taken out to SIGTERM ("1s")')
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the authority that the certificate of --to is of")
    parser.add_argument("--insecure", action="store_true", help="do not look at the certificate of --to")
    parser.add_argument("program", nargs="+", metavar="COMMAND", help="behind --; the token is in LB_ADMIN__TOKEN")


def run(args: argparse.Namespace) -> int:
    """Run the command to its end. Returns its exit status; 2 for wrong arguments, 127 when there is no such command."""
    token = os.environ.get("LB_ADMIN__TOKEN", "")
    if not token:
        print("error: LB_ADMIN__TOKEN: it is missing; write the token of the control plane", file=sys.stderr)
        return 2
    if not token.isascii():
        print("error: LB_ADMIN__TOKEN: it can be of ASCII characters only", file=sys.stderr)
        return 2
    try:
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=args.ca) if args.ca else not args.insecure
    except OSError as error:
        print(f"error: --ca {args.ca}: it cannot be used: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_run(args, token, verify))


async def _run(args: argparse.Namespace, token: str, verify: ssl.SSLContext | bool) -> int:
    from app.register import Registered  # noqa: PLC0415  # the other commands need none of it

    try:
        backend = Registered(
            args.to,
            pool=args.pool,
            url=args.url,
            token=token,
            id=args.id,
            weight=args.weight,
            ttl=args.ttl,
            verify=verify,
        )
    except ValueError as error:
        print(f"error: --{error}", file=sys.stderr)
        return 2
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # before there is a command that nobody would stop
        loop.add_signal_handler(number, told.set)
    try:
        process = await asyncio.create_subprocess_exec(*args.program)
    except OSError as error:
        print(f"error: {args.program[0]}: {error.strerror}", file=sys.stderr)
        return 127
    backend.begin()
    ended, asked = asyncio.create_task(process.wait()), asyncio.create_task(told.wait())
    await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
    await backend.end()
    if not ended.done():
        await asyncio.wait({ended}, timeout=args.drain)
    if not ended.done():
        process.terminate()
    asked.cancel()
    status = await ended
    return 128 - status if status < 0 else status  # as a shell says which signal it was


def _seconds(text: str) -> float:
    try:
        return float(duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
