"""A described network is rebuilt as it was, and a made-up description harms nobody."""

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autograder.networks import NetworkError, rebuild
from autograder.student.network import describe
from autograder.student.wire import decode, encode


class Blocks(nn.Module):
    """A network as a learner writes one: containers, functions, methods, a sum, a parameter of its own."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.norm, self.head, self.scale = norm, nn.Linear(6, 2), nn.Parameter(torch.tensor(0.7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.norm(self.linears[0](x)).relu()
        x = torch.tanh(self.linears[1](x)) * self.scale
        return self.head(F.leaky_relu(self.linears[2](x), 0.1) - x / 2)


class ByHand(nn.Module):
    """Activations written out, as a learner may write them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x.flatten(1))
        x = self.b(torch.max(x, torch.zeros_like(x)))
        x = self.c(x * (x > 0))
        return self.d(torch.where(x > 0, x, 0.1 * x).clamp(max=6))


def travelled(net: nn.Module) -> nn.Module:
    return rebuild(decode(encode(describe(net))))


NETS = [
    nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.LayerNorm(8), nn.Linear(8, 3, bias=False)),
    nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.BatchNorm1d(8, momentum=0.3), nn.GELU("tanh")), nn.Linear(8, 3)),
    nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(2, 8), nn.PReLU(), nn.Softplus(2.0), nn.RMSNorm(8), nn.Softmax(dim=1)),
    Blocks(nn.BatchNorm1d(6)),
    Blocks(nn.LayerNorm(6, elementwise_affine=False)),
    Blocks(nn.Identity()),
    ByHand(),
]


@pytest.mark.parametrize("net", NETS, ids=range(len(NETS)))
def test_a_rebuilt_network_computes_and_learns_the_same(net: nn.Module) -> None:
    torch.manual_seed(0)
    x, other = torch.randn(5, 6), travelled(net)
    for module in (net, other):
        module.zero_grad()
        module.train()(x).square().sum().backward()
    assert torch.equal(net(x), other(x))
    assert torch.equal(net.eval()(x), other.eval()(x))
    assert [p.grad.norm().item() for p in sorted(net.parameters(), key=lambda p: p.norm().item()) if p.dim() == 2] == [
        p.grad.norm().item() for p in sorted(other.parameters(), key=lambda p: p.norm().item()) if p.dim() == 2
    ]
    assert [type(m) for m in other.modules() if isinstance(m, nn.Linear)] == [type(m) for m in net.modules() if isinstance(m, nn.Linear)]


def test_the_input_stays_as_it_was() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    travelled(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1)))(x)
    assert x.tolist() == [[-1.0, 2.0]]


def replaced(**attributes: object) -> nn.Module:
    layer = nn.Linear(2, 2)
    vars(layer).update(attributes)
    return nn.Sequential(layer)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Borrows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, 1)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (3.0, "returned a float"),
        (replaced(forward=lambda x: x), "forward of its own"),
        (Branches(), "could not be followed"),
        (nn.Sequential(nn.LSTM(2, 2)), "holds a LSTM"),
        (Borrows(), "uses cumsum"),
    ],
    ids=["no network", "replaced forward", "branch on values", "unknown layer", "unknown function"],
)
def test_what_cannot_be_rebuilt_is_said_in_a_sentence(net: object, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        rebuild(decode(encode(describe(net))))


X = ["x", "placeholder", "x", ["tuple"], {}]


def made_up(*steps: list, layers: dict | None = None, values: dict | None = None) -> dict:
    return {"steps": [X, *steps], "layers": layers or {}, "values": values or {}}


def linear(rows: int, columns: int, **attributes: object) -> list:
    return ["Linear", attributes, {"weight": np.zeros((rows, columns), np.float32)}]


BROAD = ["y", "call_function", "add", ["tuple", ["node", "a"], ["node", "b"]], {}]
LIES = {
    "no dictionary": 7,
    "no steps": {},
    "a step too short": made_up(["y"]),
    "code for a name": made_up(["y", "call_function", "__import__('os').system('true')", ["tuple"], {}]),
    "a method of the interpreter": made_up(["y", "call_method", "__reduce_ex__", ["tuple", ["node", "x"], ["is", 2]], {}]),
    "a function that reads": made_up(["y", "call_function", "load", ["tuple", ["is", "/etc/passwd"]], {}]),
    "a layer of another kind": made_up(layers={"y": ["Module", {}, {}]}),
    "a hidden part of a layer": made_up(
        ["y", "call_module", "y", ["tuple", ["node", "x"]], {}], layers={"y": ["GELU", {"_buffers": 3}, {}]}
    ),
    "a node that is not there": made_up(["y", "call_method", "relu", ["tuple", ["node", "nobody"]], {}]),
    "no output": made_up(),
    "too many steps": made_up(*[[f"n{i}", "call_method", "relu", ["tuple", ["node", "x"]], {}] for i in range(1000)]),
    "too large a layer": made_up(layers={"y": linear(1, 2_000_000)}),
    "a broad sum": made_up(
        ["a", "get_attr", "a", ["tuple"], {}],
        ["b", "get_attr", "b", ["tuple"], {}],
        BROAD,
        values={"a": np.zeros((100_000, 1), np.float32), "b": np.zeros((1, 100_000), np.float32)},
    ),
    "a tall product": made_up(
        ["a", "get_attr", "a", ["tuple"], {}],
        ["y", "call_module", "y", ["tuple", ["node", "a"]], {}],
        layers={"y": linear(100_000, 1)},
        values={"a": np.zeros((100_000, 1), np.float32)},
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_made_up_description_ends_in_a_sentence(lie: object) -> None:
    started = time.monotonic()
    with pytest.raises(NetworkError):
        rebuild(decode(encode(lie)))(torch.zeros(2, 3))
    assert time.monotonic() - started < 2


def test_a_replaced_forward_does_not_travel() -> None:
    lie = made_up(
        ["y", "call_module", "y", ["tuple", ["node", "x"]], {}], layers={"y": linear(4, 3, forward="x", training=False, _parameters=3)}
    )
    lie["steps"].append(["output", "output", "output", ["tuple", ["node", "y"]], {}])
    assert rebuild(lie)(torch.ones(2, 3)).shape == (2, 4)


def test_a_network_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    net = travelled(nn.Sequential(nn.Linear(2, 2)))
    net.end = 0.0
    with pytest.raises(NetworkError, match="seconds"):
        net(torch.zeros(1, 2))
