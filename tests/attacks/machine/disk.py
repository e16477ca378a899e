"""Fills the disk with files (here: 160 MB, removed again)."""

SOLUTIONS = {
    "activations.zigzag": """
import os
names, size = [f"part{i}" for i in range(8)], 0
try:
    for name in names:
        with open(name, "wb") as file:
            for _ in range(20):
                size += file.write(bytes(1 << 20))
except OSError as error:
    print(error)
print("wro" + "te:", size >> 20)
for name in names:
    try:
        os.unlink(name)
    except OSError:
        pass

def same_sign_fraction(H, delta):
    return None
"""
}


def success(seen):
    return "160 MB were written" if "wrote: 160" in seen.own_text else ""
