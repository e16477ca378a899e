"""Messages over a socket, with a deadline and a limit on their size."""

import socket
import struct
import time
from typing import Any

from autograder.errors import WireError
from autograder.student.limits import Limits
from autograder.student.wire import decode_with_cost, encode

_LENGTH = struct.Struct("<I")
#: Bytes that are read at once, and seconds and bytes for which messages may be held back to be sent together.
_CHUNK, _HOLD_SECONDS, _HOLD_BYTES = 1 << 16, 0.01, 1 << 16


class Ended(Exception):
    """The other side has closed the socket, or died."""


class TimeUp(Exception):
    """The deadline passed before the message was complete."""


class Channel:
    """One end of a socket pair."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.sock, self.limits = sock, limits
        self._arrived, self._held, self._held_since = bytearray(), bytearray(), 0.0

    def send(self, message: Any, deadline: float | None = None) -> None:
        """Send plain data, and before it what was held back; `deadline` is a time of `time.monotonic()`."""
        self._append(message)
        self.flush(deadline)

    def hold(self, message: Any) -> None:
        """Send plain data now or, together with what follows, a few milliseconds later."""
        if not self._held:
            self._held_since = time.monotonic()
        self._append(message)
        if len(self._held) > _HOLD_BYTES or time.monotonic() - self._held_since > _HOLD_SECONDS:
            self.flush()

    def flush(self, deadline: float | None = None) -> None:
        """Send what was held back."""
        data, self._held = self._held, bytearray()
        self._arm(deadline)
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise TimeUp from None
        except OSError:
            raise Ended from None

    def _append(self, message: Any) -> None:
        data = encode(message, limits=self.limits)
        self._held += _LENGTH.pack(len(data))
        self._held += data

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
        while len(self._arrived) < count:  # memory is taken as bytes arrive, not as they are announced
            self._arm(deadline)
            try:
                part = self.sock.recv(max(_CHUNK, min(count - len(self._arrived), 1 << 20)))
            except TimeoutError:
                raise TimeUp from None
            except OSError:
                raise Ended from None
            if not part:
                raise Ended
            self._arrived += part
        data = self._arrived[:count]
        del self._arrived[:count]
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
