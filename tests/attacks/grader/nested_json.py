"""A notebook file that nests a hundred thousand levels deep."""


def alter(notebook, place):
    return '{"cells": ' + "[" * 100_000 + "]" * 100_000 + "}"
