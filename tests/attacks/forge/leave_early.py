"""Ends the process, the thread or the program successfully in the middle of the check."""

SOLUTIONS = {
    "activations.zigzag": "import os\n\ndef same_sign_fraction(H, delta):\n    os._exit(0)\n",
    "activations.stable-tanh": "def tanh(z):\n    raise SystemExit(0)\n\ndtanh = tanh\n",
    "activations.stable-sigmoid": "import unittest\n\ndef sigmoid(z):\n    raise unittest.SkipTest\n\ndsigmoid = sigmoid\n",
    "activations.silu-gradient": "def silu_backward(*a, **k):\n    raise StopIteration\n\nsilu = dsilu = silu_backward\n",
}
