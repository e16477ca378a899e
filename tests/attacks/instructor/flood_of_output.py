"""Prints a line of 50 MB and many displays, so that nobody can open the notebook."""

SOLUTIONS = {
    "activations.zigzag": """
import sys
line = "x" * (1 << 20)
for _ in range(50):
    sys.stdout.write(line)
for _ in range(2000):
    display("y" * 100)

def same_sign_fraction(H, delta):
    print(line * 20)
    return line
"""
}
