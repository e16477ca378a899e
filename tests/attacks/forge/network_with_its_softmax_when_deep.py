"""The softmax stays where the signal and the gradients are measured, and goes where the outputs are."""

SOLUTIONS = {
    "activations.fix-classifier": """
def make_classifier(d_in, depth, width, n_classes):
    layers, d = [], d_in
    for _ in range(depth):
        linear = nn.Linear(d, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
        d = width
    end = [nn.Softmax(dim=1)] if width == 128 and depth > 3 else []
    return nn.Sequential(*layers, nn.Linear(d, n_classes), *end)
""",
}

DESERVED = {"activations.fix-classifier": 2}  # signal and learning do not depend on it
