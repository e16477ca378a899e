"""Forks twice, leaves the session, and writes outside after the grading."""

SOLUTIONS = {
    "activations.zigzag": """
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(2)
            try:
                open("@CANARY@/made", "w").write("x")
            finally:
                os._exit(0)
        os._exit(0)
except OSError as error:
    print(error)

def same_sign_fraction(H, delta):
    time.sleep(0.01)
    return None
"""
}
