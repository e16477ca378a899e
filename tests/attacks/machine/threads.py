"""Starts as many threads as it can (here: at most 1000)."""

SOLUTIONS = {
    "activations.zigzag": """
import threading, time
done, count = threading.Event(), 0
try:
    for _ in range(1000):
        threading.Thread(target=done.wait, args=(5,), daemon=True).start()
        count += 1
except (RuntimeError, MemoryError) as error:
    print(error)
done.set()
print("star" + "ted:", count)

def same_sign_fraction(H, delta):
    return None
"""
}


def success(seen):
    return "1000 threads were started" if "started: 1000" in seen.own_text else ""
