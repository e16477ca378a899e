"""Something follows the last nn.Linear after all: a Hardtanh that no measured logit reaches."""

SOLUTIONS = {
    "activations.fix-classifier": """
def make_classifier(d_in, depth, width, n_classes):
    layers, d = [], d_in
    for _ in range(depth):
        linear = nn.Linear(d, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes), nn.Hardtanh(-10, 10))
""",
}
DESERVED = {"activations.fix-classifier": 2}  # signal and learning do not depend on it
