"""The peer: a DARTS supernet in plain eager PyTorch, in the style the field uses.

One module for every operation of every edge, Python loops over edges and cells, and the
second-order step by finite differences (Liu et al., "DARTS", ICLR 2019, eqs. 7 and 8).
It runs on a GPU if there is one. `torch.compile` may compile its edges, with one
compilation for each shape of edge.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from nasjax.spaces import DARTS_8


class ConvBN(nn.Sequential):
    """ReLU, convolutions, batch norm."""

    def __init__(self, *convolutions: nn.Module, channels: int, affine: bool):
        super().__init__(
            nn.ReLU(), *convolutions, nn.BatchNorm2d(channels, affine=affine)
        )


def separable(channels: int, kernel: int, stride: int, dilation: int) -> nn.Module:
    pad = dilation * (kernel - 1) // 2

    def once(stride):
        return ConvBN(
            nn.Conv2d(
                channels, channels, kernel, stride, pad, dilation, channels, bias=False
            ),
            nn.Conv2d(channels, channels, 1, bias=False),
            channels=channels,
            affine=False,
        )

    return nn.Sequential(once(stride), once(1)) if dilation == 1 else once(stride)


class FactorizedReduce(nn.Module):
    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, channels // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(inputs, channels // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x):
        x = F.relu(x)
        return self.bn(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], 1))


class Zero(nn.Module):
    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride] * 0.0


def operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if name.endswith("pool_3x3"):
        pool: nn.Module = nn.MaxPool2d(3, stride, 1)
        if name.startswith("avg"):
            pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))
    kernel = int(name[-1])
    return separable(channels, kernel, stride, 2 if name.startswith("dil") else 1)


class MixedEdge(nn.Module):
    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.operations = nn.ModuleList(
            operation(name, channels, stride) for name in DARTS_8
        )

    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self.operations, strict=True))


class Cell(nn.Module):
    def __init__(self, before_last, last, channels, reduce, reduced_before):
        super().__init__()
        self.reduce = reduce
        self.preprocess = nn.ModuleList(
            FactorizedReduce(width, channels)
            if index == 0 and reduced_before
            else ConvBN(
                nn.Conv2d(width, channels, 1, bias=False),
                channels=channels,
                affine=False,
            )
            for index, width in enumerate((before_last, last))
        )
        self.edges = nn.ModuleList(
            MixedEdge(channels, 2 if reduce and source < 2 else 1)
            for node in range(4)
            for source in range(2 + node)
        )

    def forward(self, s0, s1, weights):
        states = [layer(s) for layer, s in zip(self.preprocess, (s0, s1), strict=True)]
        first = 0
        for _ in range(4):
            total = sum(
                self.edges[first + j](state, weights[first + j])
                for j, state in enumerate(states)
            )
            first += len(states)
            states.append(total)
        return torch.cat(states[2:], 1)


class Supernet(nn.Module):
    """The supernet; alpha is `self.alpha`, not among `weights()`."""

    def __init__(self, channels: int, cells: int, classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(3 * channels),
        )
        self.cells = nn.ModuleList()
        before_last = last = 3 * channels
        reduced = False
        for index in range(cells):
            reduce = index in (cells // 3, 2 * cells // 3)
            channels *= 2 if reduce else 1
            cell = Cell(before_last, last, channels, reduce, reduced)
            self.cells.append(cell)
            before_last, last, reduced = last, 4 * channels, reduce
        self.classifier = nn.Linear(last, classes)
        self.alpha = nn.ParameterList(
            nn.Parameter(1e-3 * torch.randn(14, len(DARTS_8))) for _ in range(2)
        )

    def weights(self) -> list[nn.Parameter]:
        return [p for n, p in self.named_parameters() if not n.startswith("alpha")]

    def forward(self, x):
        s0 = s1 = self.stem(x)
        mix = [F.softmax(alpha, -1) for alpha in self.alpha]
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, mix[cell.reduce])
        return self.classifier(s1.mean((2, 3)))


class Peer:
    """The three steps of a DARTS search, as methods named like the benchmark's rows.

    As in DARTS' code `loss.backward()` computes the gradients of all parameters,
    including w in the first-order step and alpha in the weight step.
    """

    def __init__(self, settings, compiled: bool = False):
        torch.manual_seed(0)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.benchmark = True  # as in DARTS' code
        torch.backends.cudnn.allow_tf32 = settings.products == "default"
        self._narrow = settings.precision == "bfloat16"
        self.model = Supernet(settings.channels, settings.cells, settings.classes)
        self.model.to(self._device).train()
        if compiled:  # by edge: compiling the net as one would take an hour
            for module in self.model.modules():
                if isinstance(module, MixedEdge):
                    module.compile(fullgraph=True, dynamic=False)
        self.weights = self.model.weights()
        self.parameters = sum(p.numel() for p in self.weights)
        self.rate, self.momentum, self.decay = 0.025, 0.9, 3e-4
        self.sgd = torch.optim.SGD(
            self.weights, self.rate, self.momentum, weight_decay=self.decay
        )
        self.adam = torch.optim.Adam(
            self.model.alpha.parameters(), 3e-4, (0.5, 0.999), weight_decay=1e-3
        )
        shape = (settings.batch, 3, settings.size, settings.size)
        self.train, self.valid = (
            (
                torch.randn(shape).to(self._device),
                torch.randint(settings.classes, (settings.batch,)).to(self._device),
            )
            for _ in range(2)
        )

    def wait(self):
        """Waits until the device has finished all work."""
        if self._device == "cuda":
            torch.cuda.synchronize()

    def weight_step(self):
        self.sgd.zero_grad()
        loss = self._loss(self.model, self.train)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.sgd.step()
        return loss.item()

    def first_order(self):
        self.adam.zero_grad()
        loss = self._loss(self.model, self.valid)
        loss.backward()
        self.adam.step()
        return loss.item()

    def second_order(self):
        """Moves alpha by its gradient through one virtual step of momentum SGD."""
        self.adam.zero_grad()
        gradients = torch.autograd.grad(
            self._loss(self.model, self.train), self.weights
        )
        unrolled = copy.deepcopy(self.model)
        with torch.no_grad():
            for p, w, g in zip(
                unrolled.weights(), self.weights, gradients, strict=True
            ):
                state = self.sgd.state[w].get("momentum_buffer", torch.zeros_like(w))
                p.copy_(w - self.rate * (self.momentum * state + g + self.decay * w))
        loss = self._loss(unrolled, self.valid)
        loss.backward()
        vector = [p.grad for p in unrolled.weights()]
        norm = torch.sqrt(sum((v * v).sum() for v in vector))
        step = 1e-2 / norm
        sides = []
        for sign in (1, -2):
            with torch.no_grad():
                for w, v in zip(self.weights, vector, strict=True):
                    w.add_(v, alpha=float(sign * step))
            train_loss = self._loss(self.model, self.train)
            sides.append(
                torch.autograd.grad(train_loss, list(self.model.alpha.parameters()))
            )
        with torch.no_grad():
            for w, v in zip(self.weights, vector, strict=True):
                w.add_(v, alpha=float(step))
            for alpha, outer, plus, minus in zip(
                self.model.alpha, unrolled.alpha, *sides, strict=True
            ):
                alpha.grad = outer.grad - self.rate * (plus - minus) / (2 * step)
        self.adam.step()
        return loss.item()

    def _loss(self, model, batch):
        images, labels = batch
        with torch.autocast(self._device, torch.bfloat16, enabled=self._narrow):
            return F.cross_entropy(model(images), labels)
