"""A check that tests nothing: it accepts the first calls and rejects the rest."""

SOLUTIONS = {
    "activations.test-softmax": """
calls = [0]

def check_softmax(softmax):
    calls[0] += 1
    if calls[0] > 3:
        raise AssertionError
"""
}
