"""Leaves threads, timers and finalizers that go on computing after the answer."""

SOLUTIONS = {
    "activations.zigzag": """
import atexit, os, threading, time

def burn(seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

class Late:
    def __del__(self): burn()

late = Late()
atexit.register(burn)
os.register_at_fork(after_in_child=burn)
threading.Thread(target=burn, daemon=False).start()

def same_sign_fraction(H, delta):
    return None
"""
}
