"""Every call takes long, in C code that no signal interrupts, or just below the limit."""

SOLUTIONS = {
    "activations.zigzag": """
import re, time

def same_sign_fraction(H, delta):
    return re.match(r"(a+)+$", "a" * 30 + "b")
""",
    "activations.stable-sigmoid": "import time\n\ndef sigmoid(z):\n    time.sleep(1.2)\n\ndsigmoid = sigmoid\n",
}
