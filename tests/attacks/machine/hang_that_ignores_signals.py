"""Ignores every signal and never ends (here: after 40 s)."""

ALONE = True
SOLUTIONS = {
    "activations.zigzag": """
import signal, time
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
end = time.monotonic() + 40
while time.monotonic() < end:
    try:
        time.sleep(0.1)
    except BaseException:
        pass

def same_sign_fraction(H, delta):
    return None
"""
}
