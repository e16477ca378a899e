"""A check that calls the judge's implementation without end."""

SOLUTIONS = {
    "activations.test-softmax": "def check_softmax(softmax):\n    while True:\n        try:\n            softmax(np.zeros(3))\n        except Exception:\n            pass\n"
}
