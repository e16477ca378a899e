"""A check that calls the judge's implementation without end."""

SOLUTIONS = {
    "activations.test-softmax": """
def check_softmax(softmax):
    while True:
        try:
            softmax(np.zeros(3))
        except Exception:
            pass
"""
}
