"""Describes layers that are none: attributes that would replace what a layer computes, in the names of a good network's."""

SOLUTIONS = {
    "activations.fix-classifier": """
from autograder.student import network

def make_classifier(d_in, depth, width, n_classes):
    return nn.Sequential(nn.Linear(d_in, n_classes))

true = network.describe

def forged(net, x):
    told = true(net, x)
    weights = lambda a, b: {"weight": np.zeros((a, b), np.float32), "bias": np.zeros(a, np.float32)}
    sizes = [(128, 20), *[(128, 128)] * 23, (5, 128)]
    evil = {"forward": "torch.relu", "__class__": "nn.ReLU", "_forward_hooks": [1], "_parameters": {}, "training": True}
    told["layers"] = {f"l{k}": ["Linear", evil, weights(*size)] for k, size in enumerate(sizes)}
    return told

network.describe = forged
"""
}
