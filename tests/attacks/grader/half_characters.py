"""Puts half of a surrogate pair wherever text is kept: ids, sources, formats, errors, keys, printed lines."""

SOLUTIONS = {
    "activations.zigzag": """
half = chr(0xD800)
print(half)
display(half)

class Error(Exception):
    pass

Error.__name__ = "E" + half

def same_sign_fraction(H, delta):
    raise Error(half)
""",
    "activations.stable-sigmoid": "def sigmoid(z):\n    half = chr(0xDFFF)\n    return {half: [half]}\n\ndsigmoid = sigmoid\n",
    "activations.quiz": "answers = {'activations.q01': chr(0xD800), chr(0xD801): 'a'}\n",
}
