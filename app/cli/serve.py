"""`l7lb serve`: the balancer with its own listeners."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from app.cli.reading import add_config, read
from app.edge.listeners import Listener

EXAMPLES = """\
addresses:
  https://0.0.0.0:8443                    needs --cert, LB_TLS__CERTIFICATES or LB_TLS__ACME__DOMAINS
  http://0.0.0.0:8080?redirect=https      sends clients to the first https address
  unix:/run/l7lb.sock                     plain HTTP on a Unix socket
  http://127.0.0.1:9000?admin             the control plane; the other addresses then do not serve it
  https://0.0.0.0:8443?proxy=10.0.0.0/8   connections from there begin with a PROXY header, version 1 or 2
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="serve on one or more addresses",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    parser.add_argument(
        "--bind", action="append", type=_listener, metavar="ADDRESS", required=True, help="may be given several times"
    )
    parser.add_argument("--cert", type=Path, metavar="FILE", help="PEM certificate chain of the https addresses")
    parser.add_argument("--key", type=Path, metavar="FILE", help="PEM key; in the certificate's file when not given")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it: 0; 1 when an address cannot be had, 2 for wrong arguments. Raises SettingsError."""
    from app.compose import create_app  # noqa: PLC0415  # the other commands need none of it
    from app.edge.serve import serve  # noqa: PLC0415  # nor of this

    settings = read(args)
    cert, key = args.cert, args.key
    if cert is None and settings.tls.served:
        cert, key = settings.tls.served[0].cert, settings.tls.served[0].key
    try:
        return serve(
            create_app(settings),
            args.bind,
            cert=cert,
            key=key,
            prefix=settings.admin.prefix,
            handshake_timeout=settings.tls.handshake_timeout,
            challenges=bool(settings.tls.acme.domains),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _listener(text: str) -> Listener:
    try:
        return Listener.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
