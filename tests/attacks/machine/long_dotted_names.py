"""Names of nine hundred dots, a hundred times: looking for forbidden names takes a time that grows with the square of the dots."""

_TEXT = "def f(x):\n" + ("    x" + ".a" * 900 + "\n") * 108
_NAMES = {
    "activations.stable-sigmoid": "sigmoid dsigmoid",
    "activations.stable-tanh": "tanh dtanh",
    "activations.relu-family": "relu leaky_relu elu",
    "activations.gelu-forms": "gelu",
    "activations.silu-gradient": "silu",
    "activations.softmax-temperature": "softmax",
    "activations.cross-entropy-logits": "cross_entropy",
}
SOLUTIONS = {id: f"{_TEXT}\n{' = '.join(names.split())} = f\n" for id, names in _NAMES.items()}
