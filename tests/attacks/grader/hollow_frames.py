"""Writes messages to the judge that announce more than they hold, or are none."""

SOLUTIONS = {
    "activations.zigzag": """
import gc, os, struct, itertools
turn = itertools.count()
FRAMES = [
    b"\\xff\\xff\\xff\\x7f", b"\\x00\\x00\\x00\\x00", b"\\x02\\x00\\x00\\x00W1", b"\\x07\\x00\\x00\\x00W1l\\xff\\xff\\xff\\xff",
    struct.pack("<I", 22) + b"W1a\\x03<f8\\x20" + b"\\xff" * 15, struct.pack("<I", 7) + b"W1s\\x00\\x00\\x00\\x80",
    b"GET / HTTP/1.0\\r\\n\\r\\n",
    struct.pack("<I", 40_004) + b"W1" + b"l\\x01\\x00\\x00\\x00" * 8000 + b"NN", b"\\x05\\x00",
]

def same_sign_fraction(H, delta):
    frame = FRAMES[next(turn) % len(FRAMES)]
    for number in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket"):
                os.write(number, frame)
        except OSError:
            try:
                if number == 3:
                    os.write(number, frame)
            except OSError:
                pass
    return None
"""
}
