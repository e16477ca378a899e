"""Raises exceptions whose text, type, traceback and equality raise again or never end."""

SOLUTIONS = {
    "activations.zigzag": """
class Meta(type):
    def __getattribute__(cls, name):
        if name == "__name__":
            raise RuntimeError
        return super().__getattribute__(name)

class Bite(Exception, metaclass=Meta):
    def __str__(self): raise KeyboardInterrupt
    __repr__ = __eq__ = __hash__ = __str__
    @property
    def __traceback__(self): raise SystemExit
    @property
    def __class__(self): raise GeneratorExit

def same_sign_fraction(H, delta):
    raise Bite
""",
    "activations.stable-sigmoid": "def sigmoid(z):\n    raise BaseExceptionGroup('x', [SystemExit(0)])\n\ndsigmoid = sigmoid\n",
    "activations.stable-tanh": "class E(BaseException):\n    def __str__(self): return 7\n\nraise E\n",
}
