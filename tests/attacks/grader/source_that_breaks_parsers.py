"""Solution texts that break who reads them: null bytes, nesting without end, huge numbers, bad encodings."""

SOLUTIONS = {
    "activations.zigzag": "x = 1\0\n",
    "activations.stable-sigmoid": "x = " + "(" * 50_000 + ")" * 50_000 + "\n",
    "activations.stable-tanh": "x = " + "-" * 90_000 + "1\n",
    "activations.silu-gradient": "x" + ".x" * 60_000 + "\n",
    "activations.cross-entropy-logits": "# -*- coding: no-such-codec -*-\n\ufeff\x0c\nx = 0x" + "f" * 100_000 + "\n",
    "activations.fix-nll": "x = 1" + " + 1" * 40_000 + "\n",
    "activations.quiz": "answers = " + "{1: " * 5_000 + "1" + "}" * 5_000 + "\n",
    "activations.test-softmax": "if 1:\n" + "".join(" " * i + "if 1:\n" for i in range(1, 98)) + " " * 98 + "pass\n",
}
