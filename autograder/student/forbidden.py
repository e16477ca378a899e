"""stub"""
from contextlib import nullcontext
class Forbidden:
    def __init__(self, forbid, cells): pass
    def loading(self): return nullcontext()
    def asking(self, names): return nullcontext()
