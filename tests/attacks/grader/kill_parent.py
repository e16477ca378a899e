"""Ends the process that started it, and its group."""

ALONE = True
SOLUTIONS = {
    "activations.zigzag": """
import os, signal
parent = os.getppid()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
    try:
        if parent > 1:
            os.kill(parent, number)
    except OSError as error:
        print(error)

def same_sign_fraction(H, delta):
    return None
"""
}
