"""The nn.Linear layers of a rebuilt network, one behind the other: what stands between them, and what they are given and give.

All is read from the steps that were described, not from values that happen to agree.
"""

from collections import Counter

import torch
from torch import nn

from autograder.networks import NetworkError, Rebuilt, Step

#: What leaves the numbers of a tensor as they are.
AS_IT_IS = ("Identity", "Flatten", "flatten", "view", "reshape", "contiguous", "float")


class Chain:
    """A network in which each nn.Linear works on the result of the one before, and on nothing earlier.

    Parameters
    ----------
    net : what `rebuild` gave back

    Attributes
    ----------
    linears : the nn.Linear layers in order, no two the same
    tail : what follows the last of them, by the names of layers and functions; steps that leave its numbers as they are do not count

    Raises
    ------
    NetworkError : the network is no such chain
    """

    def __init__(self, net: Rebuilt) -> None:
        self._net = net
        self._uses: list[Step] = []  # of nn.Linear
        self._after: list[list[Step]] = [[]]  # what works on the input, on the result of the first nn.Linear, …
        behind: dict[str, int | None] = {}  # result → how many nn.Linear are behind it; None for what is fixed
        for step in net.steps[:-1]:
            behind[step.name] = self._place(step, behind)
        self._refuse_repetition()
        end = net.steps[-1].args[:1]
        if not end or end[0][0] != "node" or behind[end[0][1]] != len(self._uses):
            raise NetworkError("The output is not computed from the result of the last nn.Linear.")
        self._writes = any(step.writes for steps in self._after for step in steps)
        self.linears = [net.layer_of(use) for use in self._uses]
        self.tail = [name for name in map(self._name, self._after[-1]) if name not in AS_IT_IS]

    def between(self, k: int, z: torch.Tensor) -> torch.Tensor:
        """What arrives at the nn.Linear number k, counted from 1 for the second, when the one before it gives `z`.

        Parameters
        ----------
        k : from 1 to `len(linears)`, where what arrives is the output
        z : shape (N, features), with N as in the input of `rebuild`

        Raises
        ------
        NetworkError : a step fails
        """
        seen = self._net.seen | {self._uses[k - 1].name: z.clone() if self._writes else z}
        end = self._uses[k] if k < len(self._uses) else self._net.steps[-1]
        return self._net.carry_out(self._after[k], z, seen)[end.nodes()[0]]

    def follow(self, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What each nn.Linear is given and what it gives, for the input `x`, shape (N, features).

        Raises
        ------
        NetworkError : a step fails
        """
        seen, pairs = {}, []
        for step in self._net.steps[:-1]:
            z = self._net.carry_out([step], x, seen)[step.name]
            if isinstance(self._net.layer_of(step), nn.Linear):
                pairs.append((seen[step.nodes()[0]], z.clone() if self._writes else z))
        return pairs

    def _place(self, step: Step, behind: dict[str, int | None]) -> int | None:
        """Note where a step stands; how many nn.Linear are behind its result."""
        origins = [behind[name] for name in step.nodes()]
        places = {*origins} - {None} or {0}
        if step.name in self._net.fixed:
            return None
        if len(places) > 1:
            raise NetworkError(
                f"The network joins results of different layers ({step.target}). "
                "Each layer works on the result of the one before, and on nothing earlier."
            )
        if step.target == "linear" and step.kind == "call_function":
            raise NetworkError("The network calls F.linear, on its own or in a subclass of nn.Linear. Use nn.Linear layers as they are.")
        (place,) = places
        if isinstance(self._net.layer_of(step), nn.Linear):
            if place != len(self._uses) or len(origins) != 1:
                raise NetworkError("Two nn.Linear stand side by side. Each layer works on the result of the one before.")
            self._uses.append(step)
            self._after.append([])
            return place + 1
        if step.target.endswith("_") and origins[:1] == [None]:
            raise NetworkError(f"The network changes a constant in place ({step.target}).")
        self._after[place].append(step)
        return place

    def _refuse_repetition(self) -> None:
        times = max(Counter(use.target for use in self._uses).values(), default=0)
        if times > 1:
            raise NetworkError(f"The same nn.Linear is used {times} times, with one set of weights. Make a new layer for each place.")

    def _name(self, step: Step) -> str:
        layer = self._net.layer_of(step)
        return step.target if layer is None else type(layer).__name__
