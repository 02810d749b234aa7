"""What can go wrong on the way to the loopback Hub, on demand: refusals, busy answers, silence, cut connections."""

import re
import socket
import struct
from dataclasses import dataclass, field


@dataclass
class Fault:
    """
    Meets the requests whose "METHOD /path" the pattern finds, but the first `after`, `times` times.

    `status` answers instead of the Hub, `headers` with it (Retry-After, ...), `delay_s` lets the client wait and
    then hangs up, `cut` resets the connection: in the middle of the body that goes up, else of the one that comes down.
    """

    pattern: str
    status: int | None = None
    times: float = float("inf")
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False
    seen: int = 0

    def meets(self, request: str) -> bool:
        if not re.search(self.pattern, request):
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + self.times


def reset(connection: socket.socket) -> None:
    """Ends a connection by RST instead of FIN: the other side gets ECONNRESET, whatever it was doing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
