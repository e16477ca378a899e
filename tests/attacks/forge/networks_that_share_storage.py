"""Networks of one size are new modules over the same numbers."""

SOLUTIONS = {
    "activations.fix-classifier": """
_bank = {}
class Net(nn.Module):
    def __init__(self, d_in, depth, width, n_classes):
        super().__init__()
        sizes = [d_in] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, n_classes)
        for l in self.hidden:
            nn.init.kaiming_normal_(l.weight, nonlinearity="relu"); nn.init.zeros_(l.bias)
        for i, l in enumerate([*self.hidden, self.head]):
            w, b = _bank.setdefault((i, depth, l.weight.shape), (l.weight.data, l.bias.data))
            l.weight, l.bias = nn.Parameter(w), nn.Parameter(b)
    def forward(self, x):
        for l in self.hidden: x = F.relu(l(x))
        return self.head(x)
def make_classifier(d_in, depth, width, n_classes): return Net(d_in, depth, width, n_classes)
""",
}

DESERVED = {"activations.fix-classifier": 3}  # in all but that, the network is right
