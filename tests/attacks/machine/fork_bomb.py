"""Starts as many processes as it can (here: at most 200)."""

SOLUTIONS = {
    "activations.zigzag": """
import os, time
count = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        count += 1
except OSError as error:
    print(error)
print("star" + "ted:", count)

def same_sign_fraction(H, delta):
    return None
"""
}


def success(seen):
    return "200 processes were started" if "started: 200" in seen.own_text else ""
