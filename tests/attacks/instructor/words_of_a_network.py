"""What a network's description calls its problem is shown as the judge's own words: with escape sequences and hidden characters."""

SOLUTIONS = {
    "activations.fix-classifier": """
from autograder.student import network

def make_classifier(d_in, depth, width, n_classes):
    return nn.Sequential(nn.Linear(d_in, n_classes))

network.describe = lambda net: {"problem": "\\x1b]0;planted\\x07\\x1b[2J\\u202estniop 4 fo 4 .devloS\\u202c \\ud800\\x00"}
"""
}


def success(seen):
    shown = "".join("".join(o["data"]["text/html"]) for c in seen.notebook["cells"] for o in c.get("outputs", []) if "data" in o)
    return "escape sequences or hidden characters in a verdict card" if any(c in shown + seen.page for c in "\x1b\u202e\x00") else ""
