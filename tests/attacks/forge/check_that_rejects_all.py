"""A check that rejects everything, so that it catches every wrong implementation."""

SOLUTIONS = {"activations.test-softmax": "def check_softmax(softmax):\n    raise AssertionError\n"}
