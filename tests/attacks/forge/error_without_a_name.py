"""Raises exceptions whose names are empty, or those of a refusal, so that no error seems to have happened."""

SOLUTIONS = {
    "activations.zigzag": """
Nameless = type("", (Exception,), {})
Nameless.__name__ = ""

def same_sign_fraction(H, delta):
    raise Nameless
""",
    "activations.stable-sigmoid": """
def sigmoid(z):
    raise ValueError("refused")

dsigmoid = sigmoid
""",
}
