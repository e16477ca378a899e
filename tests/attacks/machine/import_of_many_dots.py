"""Cells that are one import of a name with thousands of dots: Python's parser keeps every prefix, in the judge's own process."""

SOLUTIONS = {
    "activations.stable-sigmoid": "import " + "a." * 50_000 + "a",
    "activations.stable-tanh": "import " + "a." * 9_900 + "a",
    "activations.quiz": "import " + "a." * 9_900 + "a",
}
