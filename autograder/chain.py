"""The nn.Linear layers of a rebuilt network, one behind the other: what stands between them, and what they are given and give.

All is read from the steps that were described, not from values that happen to agree.
"""

from collections import Counter
from typing import Any

import torch
from torch import nn

from autograder.networks import NetworkError, Rebuilt, Step

#: What leaves the numbers of a tensor as they are.
AS_IT_IS = (
    "Identity", "Flatten", "flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "float", "double",
)  # fmt: skip
#: Normalization and dropout, as layers and as functions: where it is held, they do nothing.
NORMALIZATIONS = (
    "BatchNorm1d", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm1d", "Dropout", "AlphaDropout", "batch_norm", "layer_norm",
    "group_norm", "rms_norm", "instance_norm", "normalize", "dropout", "alpha_dropout",
)  # fmt: skip
#: What may make one number of many: of all units, of all examples.
REDUCTIONS = ("sum", "mean", "var", "std", "norm", "linalg_norm", "linalg_vector_norm", "amax", "amin", "max", "min")


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
        return self._net.carry_out(self._after[k], z, seen)[self._arrives(k)]

    def held(self, k: int, z: torch.Tensor, step: torch.Tensor) -> list[torch.Tensor]:
        """As `between`, for `z`, `z + step` and `z - step`, while all normalization is held as it is for `z`.

        Layers and functions that normalize do nothing then. Mean, standard deviation and the like, over units or over examples, are for
        all three those of `z`. So whatever normalizes, however it is written, is affine between the three; an activation function is not.

        Raises
        ------
        NetworkError : a step fails
        """
        moved = [z.clone(), z + step, z - step]
        if any(part.target in REDUCTIONS for part in self._after[k]):
            moved.append(torch.where(torch.arange(z.numel()).view_as(z) * 7919 % 11 < 5, z + step, z))
        seen = [self._net.seen | {self._uses[k - 1].name: v} for v in moved]
        for part in self._after[k]:
            if self._name(part).rstrip("_") in NORMALIZATIONS:
                given = next(name for name in part.nodes() if name not in self._net.fixed)
                for one in seen:
                    one[part.name] = one[given].clone()
                continue
            before = dict(seen[0]) if part.target in REDUCTIONS else {}
            found = [self._drawn_alike(part, z, one) for one in seen]
            if before and _mixes(z, found[0], found[1], found[-1]):
                for one in seen[1:]:
                    one[part.name] = self._drawn_alike(part, z, before)
        return [one[self._arrives(k)] for one in seen[:3]]

    def _arrives(self, k: int) -> str:
        """The result that the nn.Linear number k is given; of the last, the output."""
        return (self._uses[k] if k < len(self._uses) else self._net.steps[-1]).nodes()[0]

    def _drawn_alike(self, step: Step, x: torch.Tensor, seen: dict[str, Any]) -> Any:
        if "rrelu" in self._name(step).lower():
            torch.default_generator.manual_seed(0)
        return self._net.carry_out([step], x, seen)[step.name]

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


def _mixes(z: torch.Tensor, here: Any, there: Any, partly: Any) -> bool:
    """Whether a result holds numbers that depend on several numbers of z: fewer than z, or such as no single number of it explains.

    In `there` all of z moved, in `partly` some.
    """
    here, there, partly = (found[0] if isinstance(found, tuple) else found for found in (here, there, partly))
    return here.numel() < z.numel() or bool(((partly != here) & (partly != there)).any())
