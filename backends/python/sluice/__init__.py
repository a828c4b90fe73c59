"""WebTransport for Python applications, behind the Sluice proxy.

Two ways to write an application, one way to run it:

    async def app(scope, receive, send): ...      # ASGI

    @sluice.handler
    async def app(session): ...                   # sessions and streams as objects

    python -m sluice module:app --listen :4433
"""

from .asgi import LifespanFailed
from .frame import ProtocolError
from .link import CloseInfo, SessionClosed
from .listen import ListenError
from .proxy import ProxyError
from .server import Server
from .session import Drain, Session, SessionApp, handler
from .stream import Stream, StreamError, StreamReset, StreamStopped

__version__ = "0.1.0"

__all__ = [
    "CloseInfo",
    "Drain",
    "LifespanFailed",
    "ListenError",
    "ProtocolError",
    "ProxyError",
    "Server",
    "Session",
    "SessionApp",
    "SessionClosed",
    "Stream",
    "StreamError",
    "StreamReset",
    "StreamStopped",
    "handler",
]
