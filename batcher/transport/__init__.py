"""One attempt: bytes out, bytes in, every failure named.

A transport sends and tells what came of it; it never raises for what an endpoint does. The origin
is the base URL's, always: redirects are not followed and a row's path can't leave it. There is no
queue in here, so nothing waits for a connection, and no timer per request: `sweep` looks over what
is under way and ends what has taken too long.

Two of them stand side by side, held to the same tests: `SessionTransport` over aiohttp's client
session, and `LeanTransport`, which takes from aiohttp only the connector and the parser.
"""

from batcher.transport.base import MAX_ANSWER_BYTES, BaseTransport, Transport
from batcher.transport.choice import open_transport
from batcher.transport.session import SessionTransport

__all__ = [
    "MAX_ANSWER_BYTES",
    "BaseTransport",
    "SessionTransport",
    "Transport",
    "open_transport",
]
