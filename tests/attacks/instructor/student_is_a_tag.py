"""Is called like a tag of HTML."""

STUDENT = "<img src=x onerror=alert(1)>"
SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}
