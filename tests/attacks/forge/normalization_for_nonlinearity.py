"""Normalization alone between the layers, group by group or twice, in place of any nonlinearity."""

SOLUTIONS = {
    "activations.fix-classifier": """
class Net(nn.Module):
    def __init__(self, d_in, depth, width, n_classes):
        super().__init__()
        sizes = [d_in] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, n_classes)
    def forward(self, x):
        for l in self.hidden:
            x = F.group_norm(l(x), 4)
        return self.head(x)
def make_classifier(d_in, depth, width, n_classes): return Net(d_in, depth, width, n_classes)
""",
}
