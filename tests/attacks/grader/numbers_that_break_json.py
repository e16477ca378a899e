"""A notebook with numbers of a million digits, infinities, and doubled keys."""


def alter(notebook, place):
    return '{"nbformat": 4, "nbformat": 4, "nbformat_minor": 1e999, "metadata": {"x": NaN, "y": ' + "9" * 1_000_000 + '}, "cells": []}'
