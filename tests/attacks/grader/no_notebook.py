"""A file of random bytes with the name of a notebook."""


def alter(notebook, place):
    return bytes(range(256)) * 100
