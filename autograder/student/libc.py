"""The C library, opened once: ctypes makes a class for every handle, and a fork that made its own would pay for it each time."""

import ctypes

LIBC = ctypes.CDLL(None, use_errno=True)
