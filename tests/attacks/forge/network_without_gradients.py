"""Computes its logits under no_grad: nothing arrives at any weight, no optimizer moves it."""

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
    @torch.no_grad()
    def forward(self, x):
        for l in self.hidden: x = F.relu(l(x))
        return self.head(x)
def make_classifier(d_in, depth, width, n_classes): return Net(d_in, depth, width, n_classes)
""",
}
