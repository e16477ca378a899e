"""The logits are clipped in place, by a step whose result nobody uses: the output is still named after the last nn.Linear."""

SOLUTIONS = {
    "activations.fix-classifier": """
class Net(nn.Module):
    def __init__(self, d_in, depth, width, n_classes):
        super().__init__()
        sizes = [d_in] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, n_classes)
        for linear in self.hidden:
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")

    def forward(self, x):
        for linear in self.hidden:
            x = torch.relu(linear(x))
        logits = self.head(x)
        F.hardtanh(logits, -10, 10, inplace=1)
        return logits

def make_classifier(d_in, depth, width, n_classes):
    return Net(d_in, depth, width, n_classes)
""",
}
DESERVED = {"activations.fix-classifier": 2}  # signal and learning do not depend on it
