"""A described network is rebuilt as it was, its layers are found one behind the other, and a made-up description harms nobody."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autograder.chain import Chain
from autograder.networks import NetworkError, Rebuilt, rebuild
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


class OwnLinear(nn.Linear):
    """A layer of torch in all but the drawing of its weights."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(rows, columns)
        self.init = nn.init.kaiming_normal_
        self.init(self.weight)


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


class InOtherWords(ByHand):
    """The same by other functions, in place, and with sizes taken from the input."""

    def forward(self, x: torch.Tensor, slope: float = 0.2) -> torch.Tensor:
        n = x.size(0)
        x = self.a(x.view(x.shape[0], -1))
        x.relu_()
        x = self.b(torch.clamp_min(x, 0.1).clip(max=2))
        F.leaky_relu(x, slope, inplace=True)
        x = self.c(x.masked_fill(x < 0, 0.0) + F.threshold(x, 0.0, 0.0))
        return self.d(F.rrelu(F.dropout(x, 0.3), training=True)).view(n, -1)


class AskingForSizes(ByHand):
    """Sizes, types and places are asked for in many ways, and parameters with defaults are left alone."""

    def forward(self, x: torch.Tensor, verbose: bool = False, *, hidden: bool = False, **more: object) -> torch.Tensor:
        assert x.shape[-1] == self.a.in_features
        rows, columns = x.shape
        if verbose or len(x) > 100 or x.size(1) != columns or x.dim() != 2 or x.numel() != rows * columns:
            raise ValueError(x)
        x = x if x.ndim == 2 else x.flatten(1)
        x = x.to(next(self.parameters()).device).to(self.d.weight.dtype).clone().double().float()
        x = F.layer_norm(self.a(x.reshape(len(x), -1)), x.shape[1:])
        x = self.b(torch.stack([x, torch.zeros_like(x)]).amax(0).unsqueeze(1).squeeze(1))
        x = self.c(torch.asinh(x) / x.norm(dim=1, keepdim=True) + torch.atan(x) * (x > 0).to(x.dtype))
        x = torch.logaddexp(x, torch.zeros_like(x)) / torch.linalg.norm(x, dim=1, keepdim=True)
        x = self.d(F.normalize(x, dim=1) + x.max(dim=1, keepdim=True)[0])
        return (x, rows) if hidden else x


X0 = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def travelled(net: nn.Module, x: torch.Tensor = X0) -> Rebuilt:
    return rebuild(decode(encode(describe(net, x))), x)


class InTwoParts(nn.Module):
    """A Sequential is cut in two when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[-1](self.layers[:-1](x))


NETS = [
    InTwoParts(),
    nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.LayerNorm(8), nn.Linear(8, 3, bias=False)),
    nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.BatchNorm1d(8, momentum=0.3), nn.GELU("tanh")), nn.Linear(8, 3)),
    nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(2, 8), nn.PReLU(), nn.Softplus(2.0), nn.RMSNorm(8), nn.Softmax(dim=1)),
    Blocks(nn.BatchNorm1d(6)),
    Blocks(nn.LayerNorm(6, elementwise_affine=False)),
    Blocks(nn.Identity()),
    nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3)),
    nn.Sequential(OwnLinear(6, 8), nn.Threshold(0.1, 0.0), nn.RReLU(), nn.Dropout(0.3), OwnLinear(8, 3)),
    ByHand(),
    InOtherWords(),
    AskingForSizes(),
]


@pytest.mark.parametrize("net", NETS, ids=range(len(NETS)))
def test_a_rebuilt_network_computes_and_learns_the_same(net: nn.Module) -> None:
    torch.manual_seed(0)
    x, other = torch.randn(5, 6), travelled(net)
    for module in (net, other):
        module.zero_grad()
        drawn_alike(module.train(), x).square().sum().backward()
    assert torch.equal(drawn_alike(net, x), drawn_alike(other, x))
    assert torch.equal(drawn_alike(net.eval(), x), drawn_alike(other.eval(), x))
    assert [p.grad.norm().item() for p in sorted(net.parameters(), key=lambda p: p.norm().item()) if p.dim() == 2] == [
        p.grad.norm().item() for p in sorted(other.parameters(), key=lambda p: p.norm().item()) if p.dim() == 2
    ]
    sizes, own = ([m.weight.shape for m in n.modules() if isinstance(m, nn.Linear)] for n in (other, net))
    assert sizes == own


def drawn_alike(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return net(x)


def test_the_input_stays_as_it_was() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    travelled(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1)), x)(x)
    assert x.tolist() == [[-1.0, 2.0]]


def replaced(**attributes: object) -> nn.Module:
    layer = nn.Linear(2, 2)
    vars(layer).update(attributes)
    return nn.Sequential(layer)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Applies(nn.Module):
    """One function and nothing else."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class CalledOtherwise(nn.Sequential):
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x


class CalledInSecret(nn.Sequential):
    def _call_impl(self, x: torch.Tensor) -> torch.Tensor:
        return super()._call_impl(x).softmax(1)


def hooked(register: str) -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2))
    getattr(net[0], register)(lambda layer, *arguments: None)
    return net


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    return net


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (3.0, "returned a float"),
        (replaced(forward=lambda x: x), "forward of its own"),
        (Branches(), r"could not be followed.*\(if, while"),
        (nn.Sequential(nn.LSTM(2, 2)), "holds a LSTM"),
        (Applies(lambda x: torch.cumsum(x, 1)), "uses cumsum"),
        (Applies(lambda x: x.T), r"uses \.T"),
        (Applies(lambda x: x[0]), r"with \[ \]"),
        (Applies(lambda x: x[:, :1]), "A slice stands"),
        (Applies(lambda x: x.__setitem__(x < 0, 0)), r"writes into parts of a tensor with \[ \] ="),
        (Applies(lambda x: torch.add(x, x, out=x)), "uses out= in add"),
        (Applies(lambda x: (x, x)), "gives back a tuple"),
        (Applies(lambda x: nn.Linear(2, 2)(x)), "a Linear that is not registered"),
        (nn.Sequential(nn.Linear(3, 2)), r"input of shape \(3, 2\), the network fails"),
        (CalledOtherwise(nn.Linear(2, 2)), "a __call__ of its own"),
        (CalledInSecret(nn.Linear(2, 2)), "gives something else than its layers do"),
        (hooked("register_forward_hook"), "The Linear 0 has a hook"),
        (hooked("register_forward_pre_hook"), "has a hook"),
        (hooked("register_full_backward_hook"), "has a hook"),
        (tied(), "0 and 1 share one parameter"),
    ],
)
def test_what_cannot_be_rebuilt_is_said_in_a_sentence(net: object, words: str) -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, -4.0], [0.5, 0.0]])
    with pytest.raises(NetworkError, match=words):
        travelled(net, x)


def test_a_forward_that_hangs_on_the_object_is_not_believed() -> None:
    net = nn.Sequential(nn.Linear(6, 2))
    net.forward = lambda x: 0 * net[0](x)
    with pytest.raises(NetworkError, match="gives something else than its layers do"):
        travelled(net)


def described(**changes: object) -> dict:
    return decode(encode(describe(nn.Sequential(nn.Linear(6, 2)), X0))) | changes


@pytest.mark.parametrize("output", [None, 3, np.zeros((5, 3)), np.full((5, 2), np.nan), np.zeros((5, 2)), "tuple"])
def test_another_output_than_the_layers_give_is_refused(output: object) -> None:
    rebuild(described(), X0)
    with pytest.raises(NetworkError):
        rebuild(described(output=output), X0)


class Plain(nn.Module):
    """Three layers one behind the other, and something done after each."""

    def __init__(self, *after: Callable) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.buffer, self.after, self.size = nn.Buffer(torch.zeros(4)), after, nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, after in zip((self.a, self.b, self.c), self.after):
            x = after(self, layer(x), x)
        return x


def relu(net: Plain, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(z)


def nothing(net: Plain, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return z


def unused(net: Plain, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    net.probabilities = torch.softmax(z, 1)
    return z.view(x.shape[0], -1)


def unused_in_place(net: Plain, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    F.hardtanh(z, inplace=1)
    return z


def test_a_chain_tells_what_stands_between_its_layers() -> None:
    net = Plain(relu, lambda net, z, x: z.add_(net.buffer).relu_(), unused)
    chain = Chain(travelled(net))
    z = torch.randn(5, 4)
    assert [m.weight.shape for m in chain.linears] == [(4, 6), (4, 4), (2, 4)]
    assert torch.equal(chain.linears[1].weight, net.b.weight)
    assert torch.equal(chain.between(1, z), z.relu())
    assert torch.equal(chain.between(2, z), z.relu())
    assert torch.equal(chain.between(3, z[:, :2]), z[:, :2])
    assert chain.tail == []


def test_a_chain_is_followed_from_layer_to_layer() -> None:
    net = Plain(relu, lambda net, z, x: z.relu_(), nothing)
    x = torch.randn(7, 6)
    first, second, third = Chain(travelled(net)).follow(x)
    assert torch.equal(first[0], x)
    assert torch.equal(second[1], net.b(net.a(x).relu())), "as it was, before anything changed it in place"
    assert torch.equal(third[0], second[1].relu())
    assert torch.equal(third[1], net(x))


def test_a_network_that_does_otherwise_in_evaluation_mode_is_described_in_it() -> None:
    net = Applies(lambda x: x.relu() if net.training else x.softmax(1))
    training, evaluation = (rebuild(decode(encode(describe(net, X0, mode))), X0, mode) for mode in (True, False))
    assert torch.equal(training(X0), X0.relu())
    assert torch.equal(evaluation(X0), X0.softmax(1))
    assert not evaluation.training


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda net: net.b.requires_grad_(False), "weight of b is frozen"),
        (lambda net: net.b.weight.register_hook(lambda g: 0 * g), "weight of b has a hook"),
        (lambda net: net.b.weight.register_post_accumulate_grad_hook(lambda p: None), "weight of b has a hook"),
        (lambda net: setattr(net.b, "weight", net.b._parameters.pop("weight").data), "weight of b is not among"),
        (lambda net: setattr(net, "parameters", lambda: iter(())), "weight of a is not among"),
        (lambda net: setattr(net.c, "weight", nn.Parameter(net.b.weight.data[1:3])), "b and c share"),
        (lambda net: setattr(net, "after", (relu, lambda net, z, x: z.detach(), nothing)), "reaches the weight of"),
    ],
)
def test_a_network_that_cannot_learn_is_told_why(spoil: Callable, words: str) -> None:
    net = Plain(relu, relu, nothing)
    spoil(net)
    assert words in describe(net, X0)["problem"]


def test_a_layer_that_nothing_depends_on_may_go_without_a_gradient() -> None:
    def aside(net: Plain, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        net.aside(z)
        return z

    net = Plain(relu, aside, nothing)
    net.aside = nn.Linear(4, 4)
    assert "problem" not in describe(net, X0)


def test_describing_leaves_running_statistics_as_one_call_does() -> None:
    net = nn.Sequential(nn.BatchNorm1d(6))
    describe(net, X0)
    assert net[0].num_batches_tracked == 1


def by_hand(z: torch.Tensor, *axes: int) -> torch.Tensor:
    for axis in axes:
        z = (z - z.mean(axis, keepdim=True)) / (z.var(axis, keepdim=True) + 1e-5).sqrt()
    return z


def rms(z: torch.Tensor) -> torch.Tensor:
    return z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-6)


NORMALIZES = {
    "nothing": lambda z: z,
    "layer norm": lambda z: F.layer_norm(z, z.shape[1:]),
    "group norm": lambda z: F.group_norm(z, 2),
    "one function behind the other": lambda z: F.layer_norm(F.batch_norm(z, None, None, training=True), (4,)),
    "instance norm": lambda z: F.instance_norm(z.unsqueeze(1)).squeeze(1),
    "dropout": lambda z: F.dropout(z, 0.3, True),
    "rows by hand": lambda z: by_hand(z, 1),
    "rows and columns by hand": lambda z: by_hand(z, 1, 0),
    "groups by hand": lambda z: by_hand(z.view(len(z), 2, -1), 2).view(len(z), -1),
    "root mean square": rms,
    "length": lambda z: z / z.norm(dim=1, keepdim=True),
    "largest of all": lambda z: z / z.abs().max(),
    "largest of each row": lambda z: z / z.abs().max(dim=1, keepdim=True)[0],
    "signs of means": lambda z: z * (1 + 0.1 * z.mean(0).sign()),
    "many copies": lambda z: z / (z.unsqueeze(1) + torch.zeros(1, 4, 1)).std(-1),
}
ACTIVATES = {
    "relu": torch.relu,
    "relu in place": lambda z: z.relu_(),
    "gelu": F.gelu,
    "the larger of two that are stacked": lambda z: torch.stack([z, torch.zeros_like(z)]).amax(0),
    "a mask": lambda z: z * (z > 0),
    "above the mean": lambda z: z * (z > z.mean(1, keepdim=True)),
    "softmax by hand": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
    "random slopes": lambda z: F.rrelu(z, training=True),
}


def bend(between: Callable) -> float:
    chain = Chain(travelled(Plain(lambda net, z, x: between(z), relu, nothing)))
    z, step = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    here, up, down = chain.held(1, z, step)
    return ((up + down - 2 * here).norm() / (up - down).norm()).item()


@pytest.mark.parametrize("normalize", NORMALIZES.values(), ids=NORMALIZES.keys())
def test_normalization_that_is_held_is_affine_and_hides_no_activation(normalize: Callable) -> None:
    assert bend(normalize) < 1e-5
    assert bend(lambda z: torch.relu(normalize(z))) > 1e-2
    assert bend(lambda z: normalize(torch.relu(z))) > 1e-2


@pytest.mark.parametrize("activate", ACTIVATES.values(), ids=ACTIVATES.keys())
def test_an_activation_bends_while_normalization_is_held(activate: Callable) -> None:
    assert bend(activate) > 1e-2


@pytest.mark.parametrize(
    ("last", "tail"),
    [
        (nothing, []),
        (relu, ["relu"]),
        (lambda net, z, x: net.size(z), ["ReLU"]),
        (unused, []),
        (unused_in_place, ["hardtanh"]),
        (lambda net, z, x: z.clamp_(-1, 1).flatten(1), ["clamp_"]),
    ],
)
def test_what_follows_the_last_layer_is_told(last: Callable, tail: list[str]) -> None:
    assert Chain(travelled(Plain(relu, relu, last))).tail == tail


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (lambda net, z, x: x + torch.relu(z), r"joins results of different layers \(add\)"),
        (lambda net, z, x: torch.relu(z) * x.mean(), r"different layers \(mul\)"),
        (lambda net, z, x: net.b(torch.relu(z)), "same nn.Linear is used 2 times"),
        (lambda net, z, x: net.b(x).sigmoid() * z, "side by side"),
        (lambda net, z, x: F.linear(z, net.b.weight), "calls F.linear"),
        (lambda net, z, x: net.buffer.add_(z.mean(0)) + z, "changes a constant in place"),
    ],
)
def test_what_is_no_chain_is_said_in_a_sentence(between: Callable, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        chain_of(Plain(relu, between, nothing))


@torch.no_grad()
def chain_of(net: nn.Module) -> Chain:
    with torch.enable_grad():
        rebuilt = travelled(net)
    return Chain(rebuilt)


def test_a_network_without_layers_is_a_chain_of_none() -> None:
    assert Chain(travelled(nn.Sequential(nn.ReLU()))).linears == []


X = ["x", "placeholder", "x", ["tuple"], {}]


def made_up(*steps: list, layers: dict | None = None, values: dict | None = None) -> dict:
    return {"steps": [X, *steps], "layers": layers or {}, "values": values or {}}


def linear(rows: int, columns: int, **attributes: object) -> list:
    return ["Linear", attributes, {"weight": np.zeros((rows, columns), np.float32)}]


END = ["end", "output", "output", ["tuple", ["node", "y"]], {}]
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
    "a node before its time": made_up(
        ["y", "call_method", "relu", ["tuple", ["node", "z"]], {}], ["z", "call_method", "relu", ["tuple", ["node", "x"]], {}], END
    ),
    "two of one name": made_up(["x", "call_method", "relu", ["tuple", ["node", "x"]], {}], END),
    "a layer that is not there": made_up(["y", "call_module", "y", ["tuple", ["node", "x"]], {}], END),
    "the parts of a tensor": made_up(["y", "call_function", "[ ]", ["tuple", ["node", "x"], ["is", 0]], {}], END),
    "a million dimensions": made_up(
        ["y", "call_method", "reshape", ["tuple", ["node", "x"], ["tuple", *[["is", 1]] * 40, ["is", -1]]], {}],
        ["z", "call_method", "relu", ["tuple", ["node", "y"]], {}],
        ["end", "output", "output", ["tuple", ["node", "z"]], {}],
    ),
    "no output": made_up(),
    "too many steps": made_up(*[[f"n{i}", "call_method", "relu", ["tuple", ["node", "x"]], {}] for i in range(1000)]),
    "too large a layer": made_up(layers={"y": linear(1, 2_000_000)}),
    "a broad sum": made_up(
        ["a", "get_attr", "a", ["tuple"], {}],
        ["b", "get_attr", "b", ["tuple"], {}],
        BROAD,
        values={"a": np.zeros((100_000, 1), np.float32), "b": np.zeros((1, 100_000), np.float32)},
    ),
    "a high stack": made_up(
        ["a", "get_attr", "a", ["tuple"], {}],
        ["y", "call_function", "stack", ["tuple", ["list", *[["node", "a"]] * 300]], {}],
        END,
        values={"a": np.zeros(100_000, np.float32)},
    ),
    "a norm that decomposes": made_up(["y", "call_method", "norm", ["tuple", ["node", "x"], ["is", "nuc"]], {}], END),
    "a size": made_up(["y", "call_function", ".shape", ["tuple", ["node", "x"]], {}], END),
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
        Rebuilt(decode(encode(lie)))(torch.zeros(2, 3))
    assert time.monotonic() - started < 2


def test_a_replaced_forward_does_not_travel() -> None:
    lie = made_up(
        ["y", "call_module", "y", ["tuple", ["node", "x"]], {}], layers={"y": linear(4, 3, forward="x", training=False, _parameters=3)}
    )
    lie["steps"].append(["output", "output", "output", ["tuple", ["node", "y"]], {}])
    assert Rebuilt(lie)(torch.ones(2, 3)).shape == (2, 4)


def test_a_network_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    net = travelled(nn.Sequential(nn.Linear(6, 2)))
    net.end = 0.0
    with pytest.raises(NetworkError, match="seconds"):
        net(torch.zeros(1, 6))
