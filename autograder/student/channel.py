"""Messages over a socket, with a deadline and a limit on their size."""

import socket
import struct
import time
from typing import Any

from autograder.errors import WireError
from autograder.student.limits import Limits
from autograder.student.wire import decode_with_cost, encode

_LENGTH = struct.Struct("<I")


class Ended(Exception):
    """The other side has closed the socket, or died."""


class TimeUp(Exception):
    """The deadline passed before the message was complete."""


class Channel:
    """One end of a socket pair."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.sock, self.limits = sock, limits

    def send(self, message: Any, deadline: float | None = None) -> None:
        """Send plain data; `deadline` is a time of `time.monotonic()`."""
        data = encode(message, limits=self.limits)
        self._arm(deadline)
        try:
            self.sock.sendall(_LENGTH.pack(len(data)) + data)
        except TimeoutError:
            raise TimeUp from None
        except OSError:
            raise Ended from None

    def receive(self, deadline: float | None = None, *, tensors: bool = False) -> tuple[Any, int]:
        """The next message and about how many bytes of memory it takes.

        Raises
        ------
        Ended, TimeUp, WireError
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        if length > self.limits.message:
            raise WireError(f"a message of {length} bytes, of at most {self.limits.message}")
        return decode_with_cost(self._read(length, deadline), limits=self.limits, tensors=tensors)

    def _read(self, count: int, deadline: float | None) -> bytearray:
        data = bytearray()
        while len(data) < count:  # memory is taken as bytes arrive, not as they are announced
            self._arm(deadline)
            try:
                part = self.sock.recv(min(count - len(data), 1 << 20))
            except TimeoutError:
                raise TimeUp from None
            except OSError:
                raise Ended from None
            if not part:
                raise Ended
            data += part
        return data

    def _arm(self, deadline: float | None) -> None:
        if deadline is None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeUp
        self.sock.settimeout(left)

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
