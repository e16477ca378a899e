"""A cached classifier: every call with the same sizes gives back one and the same network."""

SOLUTIONS = {
    "activations.fix-classifier": """
from functools import lru_cache
@lru_cache
def make_classifier(d_in, depth, width, n_classes):
    layers, d = [], d_in
    for _ in range(depth):
        linear = nn.Linear(d, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu"); nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]; d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes))
""",
}

DESERVED = {"activations.fix-classifier": 3}  # in all but that, the network is right
