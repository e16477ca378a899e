"""Puts arrays and lists where the judge compares a number, a text or a status: the judge, not the submission, fails."""

_SERVER = """
import sys

def server():
    frame = sys._getframe()
    while frame:
        found = frame.f_locals.get("self")
        if type(found).__name__ == "Server":
            return found
        frame = frame.f_back

def tell(**fields):
    found = server()
    found.channel.send({"nonce": found.nonce, "index": found.index, "value": 1.0} | fields)
"""
_OUTCOME = """
fields = dict(status=[], message="", where=[], notes=[], stdout="", stderr="", outputs=[], error=None, missing=[])
found = server()
found.channel.send({"nonce": found.nonce, "outcome": fields})
"""
SOLUTIONS = {
    "activations.zigzag": _SERVER + "\ndef same_sign_fraction(H, delta):\n    tell(index=np.zeros(2))\n",
    "activations.dead-units": _SERVER + "\ndef dead_report(batches):\n    tell(nonce=np.zeros(2))\n",
    "activations.test-softmax": _SERVER + "\ndef check_softmax(softmax):\n    tell(index=torch.zeros(2))\n",
    "activations.silu-gradient": _SERVER + _OUTCOME,
}
SOLUTIONS["activations.quiz"] = 'answers = {f"activations.q{n:02d}": np.zeros(2) for n in range(1, 21)}\n'
