"""A notebook whose format is a text that cannot be written as UTF-8."""


def alter(notebook, place):
    return {"nbformat": "\ud800\udfff\ud800", "nbformat_minor": 5, "metadata": {}, "cells": []}
