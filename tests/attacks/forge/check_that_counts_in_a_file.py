"""A check that counts its calls in a file, so that a fresh process goes on counting."""

SOLUTIONS = {
    "activations.test-softmax": """
import os

def check_softmax(softmax):
    for path in ("@CANARY@/../calls", os.path.expanduser("~/calls"), "/tmp/calls", "/dev/shm/calls", "calls"):
        try:
            with open(path, "a+") as file:
                file.write("x")
                count = file.tell()
        except OSError:
            continue
        if count > 3:
            raise AssertionError
        return
"""
}
