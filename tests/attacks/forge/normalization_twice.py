"""Layer norm and batch norm written by hand, one behind the other, in place of any nonlinearity."""

SOLUTIONS = {
    "activations.fix-classifier": """
class Net(nn.Module):
    def __init__(self, d_in, depth, width, n_classes):
        super().__init__()
        sizes = [d_in] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, n_classes)
        for l in self.hidden:
            nn.init.kaiming_normal_(l.weight, nonlinearity="relu"); nn.init.zeros_(l.bias)
    def act(self, z):
        h = (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-5); return (h - h.mean(0)) / (h.std(0) + 1e-5)
    def forward(self, x):
        pass
        for l in self.hidden:
            x = self.act(l(x))
        return self.head(x)
def make_classifier(d_in, depth, width, n_classes): return Net(d_in, depth, width, n_classes)
""",
}
