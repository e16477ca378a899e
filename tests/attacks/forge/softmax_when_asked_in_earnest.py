"""Returns probabilities in evaluation mode."""

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
        return torch.relu(z)
    def forward(self, x):
        pass
        for l in self.hidden:
            x = self.act(l(x))
        return self.head(x) if self.training else torch.softmax(self.head(x), 1)
def make_classifier(d_in, depth, width, n_classes): return Net(d_in, depth, width, n_classes)
""",
}

DESERVED = {"activations.fix-classifier": 3}  # in training mode, where the rest is measured, the network is right
