"""One hidden nn.Linear in the place of all: the gradients of the second and the last hidden layer are the same number."""

SOLUTIONS = {
    "activations.fix-classifier": """
def make_classifier(d_in, depth, width, n_classes):
    first, shared = nn.Linear(d_in, width), nn.Linear(width, width)
    for layer in (first, shared):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(first, nn.ReLU(), *[shared, nn.ReLU()] * (depth - 1), nn.Linear(width, n_classes))
""",
}
