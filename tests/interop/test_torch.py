"""PyTorch: modules there and back bit for bit, trained as torch trains them, anything that is not linear refused by name and place."""

from __future__ import annotations

import copy
import doctest
import subprocess
import sys

import numpy as np
import pytest

import linalign as la
from linalign.validate import real_array
from tests.oracles.layer_cases import LAYERS, NAMES
from tests.required import oracle

torch = oracle("torch")
nn = torch.nn
parametrize = nn.utils.parametrize
interop = pytest.importorskip("linalign.interop.torch")
from_torch, to_torch, train_torch, update_torch_ = interop.from_torch, interop.to_torch, interop.train_torch, interop.update_torch_
pytestmark = pytest.mark.oracle


@pytest.fixture(autouse=True)
def one_thread_one_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def test_a_module_of_ones_own_is_refused_with_a_way_on():
    class Own(nn.Module):
        pass

    with pytest.raises(
        TypeError, match=r"^module is a Own; Sequentials .* are read: write it as one, .*torch\.chain\(x, W_1, \.\.\., W_d\) in it$"
    ):
        from_torch(Own())
    with pytest.raises(TypeError, match=r"^net is Own; a linalign.Network was wanted: pass linalign.interop.torch.from_torch\(net\)$"):
        la.train(Own(), np.eye(2), lr=0.1, steps=1)


def test_sets_of_data_are_refused_with_a_way_on():
    rows = torch.utils.data.TensorDataset(torch.eye(2), torch.eye(2))
    net = la.Network.dense([2, 2]).init("xavier", rng=0, dtype=np.float32)
    with pytest.raises(TypeError, match=r"^X is TensorDataset; X and Y were wanted: X, Y = dataset.tensors$"):
        la.train(net, rows, lr=0.1, steps=1)
    with pytest.raises(
        TypeError, match=r"^X is DataLoader; X and Y were wanted: X, Y = loader.dataset.tensors, or stack its rows, and pass batch=1$"
    ):
        la.train(net, torch.utils.data.DataLoader(rows), lr=0.1, steps=1)
    X, Y = rows.tensors
    assert la.train(net, X, Y, lr=0.1, steps=1).steps == 1


class Mask(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, W):
        return W * self.mask


class Upper(nn.Module):
    def forward(self, W):
        return W.triu() + W.triu(1).transpose(-1, -2)


class Lower(nn.Module):
    def forward(self, W):
        return W.tril() + W.tril(-1).mT


class Mean(nn.Module):
    def forward(self, W):
        return (W + W.T) / 2


def parametrised(function, a=5, b=5, bias=True):
    module = nn.Linear(a, b, bias=bias)
    parametrize.register_parametrization(module, "weight", function)
    return module


def pruned(a, b):
    module = nn.Linear(a, b)
    nn.utils.prune.random_unstructured(module, "weight", 0.5)
    return module


# modules on samples of a shape, all of whose steps are compared with torch's
MODULES = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "no biases": (lambda: nn.Sequential(nn.Linear(5, 6, bias=False), nn.Linear(6, 3, bias=False)), (5,)),
    "biases": (lambda: nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 3)), (5,)),
    "nested": (
        lambda: nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.0), nn.Sequential(nn.Linear(6, 3, bias=False)))),
        (5,),
    ),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), (2, 3)),
    "masked": (lambda: nn.Sequential(parametrised(Mask((torch.rand(6, 5) < 0.5).float()), 5, 6), nn.Linear(6, 3)), (5,)),
    "pruned": (lambda: nn.Sequential(pruned(5, 6), nn.Linear(6, 3)), (5,)),
    "upper": (lambda: nn.Sequential(parametrised(Upper()), nn.Linear(5, 3)), (5,)),
    "lower": (lambda: nn.Sequential(nn.Linear(5, 5), parametrised(Lower(), bias=False), nn.Linear(5, 3)), (5,)),
    "images": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 2, stride=2), nn.Flatten(), nn.Linear(12, 3)),
        (2, 4, 6),
    ),
    "padded": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, (3, 4), padding="same", padding_mode="circular", bias=False), nn.Conv2d(2, 1, 3, 2, 1)),
        (1, 5, 6),
    ),
    "signals": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 7)), nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), nn.Conv1d(3, 2, 3, 2, padding=1)
        ),
        (14,),
    ),
    "one tap": (lambda: nn.Sequential(nn.Conv1d(2, 3, 1, padding_mode="reflect"), nn.Flatten(1, 2)), (2, 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_thousand_steps_are_those_of_torch(name):
    make, shape = MODULES[name]
    module = make().double()
    r = np.random.default_rng(1)
    X = torch.from_numpy(r.standard_normal((20, *shape)))
    Y = torch.from_numpy(r.standard_normal(tuple(module(X).shape)))
    net = from_torch(module, shape)
    assert np.allclose(net(X.reshape(20, -1)), module(X).detach().reshape(20, -1), rtol=0, atol=1e-13)
    loss, lr = nn.functional.mse_loss, 0.02
    run = la.train(net, X.reshape(20, -1), Y.reshape(20, -1), loss="mse", lr=lr, steps=1000, metric="parameters")
    again = train_torch(twin := make_twin(module), X, Y, loss="mse", lr=lr, steps=1000, input_shape=shape)
    assert again.loss[-1] == run.loss[-1]
    optimiser = torch.optim.SGD(module.parameters(), lr=lr)
    for _ in range(1000):
        optimiser.zero_grad()
        loss(module(X), Y).backward()
        optimiser.step()
    # 1,000 steps each pass on the rounding of those before by a map that contracts or nearly so: 4500 eps a step
    assert abs(run.loss[-1] - loss(module(X), Y).item()) < 1e-9
    for theta, other in zip(run.network.params, from_torch(module, shape).params, strict=True):
        assert np.abs(theta - other).max() < 1e-9
    for theirs, ours in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(theirs, ours, rtol=0, atol=1e-9)


def make_twin(module):
    """The same module again. A pruned one cannot be copied after it has run: its weight is no leaf then."""
    for part in module.modules():
        if hasattr(part, "weight_orig"):
            part.weight = (part.weight_orig * part.weight_mask).detach()
    return copy.deepcopy(module)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("layer", LAYERS, ids=NAMES)
def test_every_layer_there_and_back_bit_for_bit(layer, biased, dtype):
    layer = la.layers.Biased(layer) if biased else layer
    net = la.Network([layer, la.Dense(layer.shape[0], 3)])
    r = np.random.default_rng(2)
    net = net.with_params([r.standard_normal(each.param_shape).astype(dtype) for each in net.layers])
    before = torch.get_rng_state()
    module = to_torch(net)
    assert torch.equal(before, torch.get_rng_state())
    back = from_torch(module)
    assert back.layers == net.layers
    assert back.dtype == net.dtype
    assert all(np.array_equal(a, b) for a, b in zip(back.params, net.params, strict=True))
    X = r.standard_normal((4, net.widths[0])).astype(dtype)
    # sums of at most 48 products and 12 more, of numbers below four
    assert np.allclose(module(torch.from_numpy(X)).detach(), net(X), rtol=0, atol=100 * 48 * np.finfo(dtype).eps)


@pytest.mark.parametrize("layer", [l for l in LAYERS if l.size], ids=[n for n, l in zip(NAMES, LAYERS, strict=True) if l.size])
def test_gradients_in_the_parameters_are_those_of_autograd(layer):
    net = la.Network([la.layers.Biased(layer), la.Dense(layer.shape[0], 3, bias=True)])
    r = np.random.default_rng(3)
    net = net.with_params([r.standard_normal(each.param_shape) for each in net.layers])
    X, Y = r.standard_normal((6, net.widths[0])), r.standard_normal((6, 3))
    module = to_torch(net)
    nn.functional.mse_loss(module(torch.from_numpy(X)), torch.from_numpy(Y)).backward()
    gradients = la.value_and_grad(net, X, Y, loss="mse")[1]
    flat = np.concatenate([p.grad.numpy().ravel() for part in module for p in sorted_parameters(part)])
    want = np.concatenate([g.ravel() for g in gradients])
    assert np.allclose(flat, want, rtol=0, atol=1e-12 * max(1.0, np.abs(want).max()))


def sorted_parameters(part):
    """The weight's, then the bias's."""
    return [p for _, p in sorted(part.named_parameters(), key=lambda named: "bias" in named[0])]


def test_chains_of_convolutions_meet_without_a_reshape():
    net = la.Network([la.Conv2d((4, 4), 3, 1, 2, bias=True), la.Conv2d((4, 4), 3, 2, 1, "circular"), la.Dense(16, 2), la.Conv1d(2, 1)])
    module = to_torch(net.init("xavier", rng=0))
    assert [type(part).__name__ for part in module] == [
        "Unflatten",
        "Conv2d",
        "Conv2d",
        "Flatten",
        "Linear",
        "Unflatten",
        "Conv1d",
        "Flatten",
    ]
    assert from_torch(module).layers == net.layers


def test_what_torch_gets_is_its_own():
    net = la.Network.dense([4, 3]).init("xavier", rng=0)
    before = net.params[0].copy()
    module = to_torch(net)
    with torch.no_grad():
        module[0].weight.zero_()
    assert np.array_equal(net.params[0], before)
    net = from_torch(module)
    with torch.no_grad():
        module[0].weight.fill_(1)
    assert not net.params[0].any()


def test_updates_are_in_place_and_keep_the_dtype():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    weight, where = module[0].weight, module[0].weight.data_ptr()
    net = from_torch(module).astype(np.float64).init("xavier", rng=3)
    assert update_torch_(module, net) is module
    assert module[0].weight is weight
    assert weight.data_ptr() == where
    assert weight.dtype == torch.float32
    assert np.array_equal(from_torch(module).params[0], net.params[0].astype(np.float32))


def test_raw_entries_outside_a_mask_stay():
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    module = parametrised(Mask(mask), 2, 2, bias=False)
    raw = module.parametrizations.weight.original
    outside = raw.detach().clone()[mask == 0]
    update_torch_(module, la.Network([la.Masked(mask.bool())], [np.array([7.0, 8.0])]))
    assert torch.equal(raw[mask == 0], outside)
    assert torch.equal(module.weight, torch.tensor([[7.0, 0.0], [0.0, 8.0]]))


def test_a_structure_projects_what_is_assigned():
    module = to_torch(la.Network([la.Toeplitz(3, 3)]).init("gaussian", rng=0))[0]
    W = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    module.weight = W
    theta = la.project(W, la.Toeplitz(3, 3))
    assert np.allclose(module.weight.detach(), la.Toeplitz(3, 3).matrix(theta), rtol=0, atol=1e-15)
    assert "Toeplitz(n_in=3, n_out=3)" in repr(module)


# ---- what is refused -------------------------------------------------------------------------------------------------------


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked():
    module = nn.Linear(4, 4)
    module.register_forward_hook(lambda module, given, answer: answer**2)
    return module


SHARED = nn.Linear(4, 4)
REFUSED = [
    (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Sequential(nn.ReLU())), None, r"^module\.2\.0 is a ReLU; Sequentials of Linear, Conv1d"),
    (lambda: nn.ReLU(), None, r"^module is a ReLU; "),
    (lambda: nn.Sequential(Doubled(4, 4)), None, r"^module\.0 is a Doubled; "),
    (lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), None, r"^module\.1 is a Dropout with p=0\.5, and so not linear; p=0 was wanted$"),
    (lambda: nn.Sequential(hooked()), None, r"^module\.0 has a forward hook, <lambda>, which may do anything; remove it$"),
    (lambda: nn.Sequential(SHARED, SHARED), None, r"^module\.1 shares its parameters with module\.0; each layer of linalign has its own$"),
    (lambda: nn.Sequential(nn.Identity()), None, r"^module has no layers"),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 4)), None, r"^module\.1 is a Linear of 4 inputs but is given 3$"),
    (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), None, r"^module\.0 is a Conv2d, which takes images of any size; pass input_shape=\(channels, height, width\)$"),
    (lambda: nn.Sequential(nn.Conv1d(2, 1, 3), nn.Linear(4, 2)), (2, 6), r"^module\.1 is a Linear on images \(1, 4\), of which it takes the last axis"),
    (lambda: nn.Conv1d(2, 1, 3), (3, 6), r"^module is a Conv1d of 2 channels but is given \(3, 6\); \(channels, length\) was wanted"),
    (lambda: nn.Conv1d(2, 2, 3, groups=2), (2, 6), r"^module is a Conv1d with groups=2, dilation=\(1,\); 1 was wanted of either$"),
    (lambda: nn.Conv1d(1, 1, 3, dilation=2), (1, 6), r"^module is a Conv1d with groups=1, dilation=\(2,\)"),
    (lambda: nn.Conv1d(1, 1, 3, padding=2), (1, 6), r"^module is a Conv1d with kernel_size=\(3,\), stride=\(1,\), padding=\(2,\), padding_mode='zeros' on images \(1, 6\)"),
    (lambda: nn.Conv1d(1, 1, 3, padding=1, padding_mode="reflect"), (1, 6), r"padding_mode='reflect'"),
    (lambda: nn.Conv1d(1, 1, 4, padding=1), (1, 6), r"padding=\(1,\)"),
    (lambda: nn.Conv1d(1, 1, 9), (1, 6), r"^module is a Conv1d: kernel_size is 9 but the image has 6 entries"),
    (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(4, 4)), None, r"^module\.0 is Flatten\(start_dim=0, end_dim=-1\); Flatten\(\)"),
    (lambda: nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (1, 3))), None, r"^module\.1 is Unflatten.* but is given \(4,\); 3 features were wanted$"),
    (lambda: parametrised(Mean()), None, r"^module is a Linear whose weight is the mean with its transpose \(Mean\).* write W\.triu\(\) \+ W\.triu\(1\)\.T$"),
    (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), None, r"^module is a Linear whose weight is parametrised by _Orthogonal"),
    (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), None, r"^module is a Linear with weight parametrised by _WeightNorm"),
    (lambda: nn.Linear(4, 4).bfloat16(), None, r"^module\.weight is a tensor of torch\.bfloat16"),
    (lambda: nn.Linear(4, 4, device="meta"), None, r"^module is on meta; linalign computes on the CPU: pass module\.cpu\(\)$"),
    (lambda: [nn.Linear(4, 4)], None, r"^module is list; a torch\.nn\.Module was wanted$"),
    (lambda: nn.Linear(4, 4), (0,), r"^input_shape is \(0,\); that of one sample was wanted"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "message"), REFUSED, ids=[str(k) for k in range(len(REFUSED))])
def test_anything_else_is_refused_by_name_and_place(make, shape, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        from_torch(make(), shape)
    assert "\n" not in str(error.value)


def test_a_module_that_cannot_be_trained_is_left_alone():
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    module[1].bias.requires_grad_(False)
    X, Y = torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^module\.1 has parameters that do not require grad"):
        train_torch(module, X, Y, lr=0.1, steps=3)
    module.requires_grad_()
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(la.DivergenceError):
        train_torch(module, X, Y, lr=1e6, steps=1000)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"^net has 1 layers but module has 2"):
        update_torch_(module, la.Network.dense([3, 2]).init("xavier", rng=0))
    with pytest.raises(
        ValueError, match=r"^net\.layers\[1\] is Dense\(n_in=4, n_out=2\) but module\.1 is Dense\(n_in=4, n_out=2, bias=True\)"
    ):
        update_torch_(module, la.Network([la.Dense(3, 4, bias=True), la.Dense(4, 2)]).init("xavier", rng=0))
    for function in (to_torch, lambda net: update_torch_(module, net)):
        with pytest.raises(TypeError, match=r"^net is list; a linalign\.Network was wanted$"):
            function([1])


# ---- tensors wherever an array is ------------------------------------------------------------------------------------------


def test_tensors_are_taken_where_arrays_are():
    r = np.random.default_rng(4)
    X, Y = r.standard_normal((30, 5)), r.standard_normal((30, 3))
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    net = la.Network.dense([5, 4, 3]).init("xavier", rng=0)
    weights = [torch.from_numpy(W.copy()) for W in net.params]
    same = la.Network.dense([5, 4, 3], weights)
    assert all(np.array_equal(a, b) for a, b in zip(same.params, net.params, strict=True))
    assert np.array_equal(net(x), net(X))
    assert (
        la.train(net, x, y, lr=1e-2, steps=5, metric="parameters").loss.tolist()
        == la.train(net, X, Y, lr=1e-2, steps=5, metric="parameters").loss.tolist()
    )
    labels = r.integers(0, 3, 30)
    for kind in (torch.int64, torch.int32, torch.uint8):
        found = la.value_and_grad(net, x, torch.from_numpy(labels).to(kind), loss="cross_entropy")[0]
        assert found == la.value_and_grad(net, X, labels, loss="cross_entropy")[0]
    assert np.array_equal(la.alignment(weights), la.alignment(net))
    assert np.array_equal(la.singular_values(weights), la.singular_values(net))
    assert la.compress([(x, y)]).constant == la.compress([(X, Y)]).constant
    assert np.array_equal(la.project(weights[0][:3, :3], la.Symmetric(3)), la.project(net.params[0][:3, :3], la.Symmetric(3)))
    assert la.Masked(torch.eye(3, dtype=torch.bool)) == la.Masked(np.eye(3, dtype=bool))
    entries = la.losses.Entries(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([0.5, 1.0]))
    assert (
        la.value_and_grad(net, None, loss=entries)[0] == la.value_and_grad(net, None, loss=la.losses.Entries([0, 1], [1, 2], [0.5, 1.0]))[0]
    )
    order = torch.tensor([[0, 1], [2, 3]])
    run = la.train(net, x, y, lr=1e-2, steps=2, order=order, metric="parameters")
    assert run.loss.tolist() == la.train(net, X, Y, lr=1e-2, steps=2, order=order.numpy(), metric="parameters").loss.tolist()


def test_tensors_with_an_objective():
    r = np.random.default_rng(5)
    X, Y = torch.from_numpy(r.standard_normal((30, 5))), torch.from_numpy(r.standard_normal((30, 3)))
    net = la.Network.dense([5, 4, 3]).init("xavier", rng=0)
    objective = la.Objective(net, X, Y)
    value, gradients = objective.value_and_grad(net.params)
    tensors = [torch.from_numpy(theta.copy()) for theta in net.params]
    out = [torch.empty_like(theta) for theta in tensors]
    found, given = objective.value_and_grad(tensors, out=out)
    assert found == value
    assert given is out
    assert all(np.array_equal(a, b) for a, b in zip(out, gradients, strict=True))
    room = torch.empty(objective.flat.size, dtype=torch.float64)
    assert objective.value_and_grad(torch.from_numpy(objective.flat), out=room)[1] is room
    assert np.array_equal(room, np.concatenate([g.ravel() for g in gradients]))
    with pytest.raises(
        TypeError,
        match=r"^params\[0\] is a tensor that requires grad, and autograd does not follow linalign: pass params\[0\]\.detach\(\)$",
    ):
        objective.value([theta.requires_grad_() for theta in tensors])
    with pytest.raises(ValueError, match=r"^out is shape \(3,\) and dtype float64"):
        objective.gradient(objective.flat, out=torch.empty(3, dtype=torch.float64))


def test_memory_is_shared_where_it_fits():
    x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    assert real_array("X", x).ctypes.data == x.data_ptr()
    assert np.array_equal(real_array("X", x.T), x.numpy().T)


def test_tensors_that_cannot_be_taken_are_named():
    net = la.Network.dense([3, 2]).init("xavier", rng=0)
    X, Y = torch.ones(4, 3, dtype=torch.float64), np.ones((4, 2))
    for x, message in [
        (X.clone().requires_grad_(), r"^X is a tensor that requires grad, and autograd does not follow linalign: pass X\.detach\(\)$"),
        (X.to("meta"), r"^X is a tensor on meta; linalign computes on the CPU: pass X\.cpu\(\)$"),
        (X.to_sparse(), r"^X is a tensor of torch\.float64, torch\.sparse_coo; a dense one of torch\.float64 or float32 was wanted$"),
        (X.bfloat16(), r"^X is a tensor of torch\.bfloat16, torch\.strided; a dense one"),
        (
            X.float(),
            r"^X is float32 but the network is float64; nothing is converted silently: pass X\.to\(torch\.float64\) or net\.astype",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            la.train(net, x, Y, lr=0.1, steps=1)


def test_without_torch_one_line_says_what_is_missing():
    code = "import sys; sys.modules['torch'] = None\nimport linalign.interop.torch"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip().splitlines()[-1] == (
        "ImportError: linalign.interop.torch needs PyTorch; install it with: pip install 'linalign[torch]'"
    )


def test_the_example_of_the_docstring():
    assert doctest.testmod(interop).failed == 0
