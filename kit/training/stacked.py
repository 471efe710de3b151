"""Many members of one architecture trained at once, as batched matrices with forward and backward pass by hand.

Computes what :mod:`kit.training.loop` computes. Every tensor has the members as its first axis, and each kernel is one
whose result for a member is the same whatever the number of members: products of matrices with several columns,
element-wise kernels, sums over inner axes. (A product with one column is not: the output layer multiplies and sums.)

Constants are kept out of the element-wise kernels: what a hidden layer stores is its activation divided by ``gain``,
and its pre-activation times ``inner``; both factors go into the matrix products, where they cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kit.training.feed import Feed
from kit.training.model import Network
from kit.training.recipe import Architecture, Recipe, architecture
from kit.training.standardiser import Standardiser

#: Parameters of a member fill up to a multiple of this, so that each member starts where a vector register does.
_ALIGNED = 64
#: Adam's other numbers, as in torch.optim.Adam.
_BETAS, _EPS = (0.9, 0.999), 1e-8


def prepare_cpu() -> None:
    """One thread: the matrices are too small for more, and members are spread over processes.

    Numbers below 1e-38 count as zero where the CPU can do that: weights of encoders that no row has shrink to such
    numbers, with which CPUs compute slowly.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class _Gelu:
    """z Φ(z) with v = z/√2: stored is v (1 + erf v), and the derivative is ½ (1 + erf v + 2/√π v exp(-v²))."""

    inner, gain, slope = math.sqrt(0.5), math.sqrt(0.5), 0.5

    @staticmethod
    def forward(at: _Hidden) -> None:
        torch.erf(at.v, out=at.extra)
        torch.addcmul(at.v, at.v, at.extra, out=at.out)

    @staticmethod
    def backward(at: _Hidden) -> None:
        torch.addcmul(at.zero, at.v, at.v, value=-1, out=at.scratch).exp_()
        torch.addcmul(at.extra, at.v, at.scratch, value=2 / math.sqrt(math.pi), out=at.scratch)
        at.grad.addcmul_(at.grad, at.scratch)


class _Relu:
    inner, gain, slope = 1.0, 1.0, 1.0

    @staticmethod
    def forward(at: _Hidden) -> None:
        torch.clamp(at.v, min=0, out=at.out)
        torch.sign(at.out, out=at.extra)

    @staticmethod
    def backward(at: _Hidden) -> None:
        at.grad.mul_(at.extra)


_ACTIVATIONS: dict[str, type[_Gelu] | type[_Relu]] = {"gelu": _Gelu, "relu": _Relu}


class _Hidden:
    """Buffers of one hidden layer, [M, batch, width] each: ``v`` and ``out`` are what is stored before and after the
    activation, ``extra`` is what the activation keeps for its derivative.
    """

    def __init__(self, kept: Tensor) -> None:
        self.v, self.extra, self.out, self.grad, self.scratch = (torch.empty_like(kept) for _ in range(5))
        self.kept, self.zero = kept, kept.new_zeros(1)


class Parameters:
    """Numbers of M members that are laid out alike: weights, or their gradient, or one of Adam's moments.

    Attributes:
        matrices: for each hidden layer its weights [M, in, out], contiguous: the products write into them.
        vectors: [M, stride], everything else: the biases of the hidden layers, the output layer's weights and bias,
            and zeros up to the stride.
        biases: views of ``vectors``, [M, 1, width] for each hidden layer.
        last_weight, last_bias: views of ``vectors``, [M, 1, in] and [M, 1].
    """

    def __init__(self, arch: Architecture, matrices: Sequence[Tensor], vectors: Tensor) -> None:
        self.matrices, self.vectors = tuple(matrices), vectors
        *hidden, last, bias = torch.split(
            vectors[:, : sum(arch.hidden) + arch.widths[-2] + 1], [*arch.hidden, arch.widths[-2], 1], dim=1
        )
        self.biases = [part.unsqueeze(1) for part in hidden]
        self.last_weight, self.last_bias = last.unsqueeze(1), bias

    def tensors(self) -> list[Tensor]:
        """All numbers, once."""
        return [*self.matrices, self.vectors]


def zeros(arch: Architecture, count: int, like: Tensor) -> Parameters:
    """Parameters of ``count`` members, all zero, of the type and on the device of ``like``."""
    stride = -(-(sum(arch.hidden) + arch.widths[-2] + 1) // _ALIGNED) * _ALIGNED
    shapes = pairwise(arch.widths[:-1])
    return Parameters(arch, [like.new_zeros(count, *shape) for shape in shapes], like.new_zeros(count, stride))


def prefix(arch: Architecture, parameters: Parameters, count: int) -> Parameters:
    """The first ``count`` members, as views."""
    return Parameters(arch, [matrix[:count] for matrix in parameters.matrices], parameters.vectors[:count])


@torch.no_grad()
def put(parameters: Parameters, index: int, network: Network) -> None:
    """Make a network's weights those of a member."""
    for layer, (matrix, bias) in enumerate(zip(parameters.matrices, parameters.biases, strict=True)):
        matrix[index] = network.weights[layer].mT
        bias[index, 0] = network.biases[layer]
    parameters.last_weight[index], parameters.last_bias[index] = network.weights[-1], network.biases[-1]


@torch.no_grad()
def take(parameters: Parameters, index: int, network: Network) -> None:
    """Make a member's weights those of a network."""
    for layer, (matrix, bias) in enumerate(zip(parameters.matrices, parameters.biases, strict=True)):
        network.weights[layer].copy_(matrix[index].mT)
        network.biases[layer].copy_(bias[index, 0])
    network.weights[-1].copy_(parameters.last_weight[index])
    network.biases[-1].copy_(parameters.last_bias[index])


class Stack:
    """Parameters and Adam state of M members, and their training step.

    Attributes:
        parameters, moments: those of all M members, also of those that are trained no more.
        steps: how many steps have been made, a tensor without axes.
        count: how many members are trained; the shapes below are in terms of these.
        inputs: [count, batch, inputs] and target, weight: [count, batch], to be given before each step. The weight is
            2/n for the n rows that count and 0 for those that fill up a smaller batch.
        kept: [count x batch x hidden units], 0 and 1, hidden layer after hidden layer, to be given if there is dropout.
        error: [count, batch], score minus target; after ``backward`` times weight.
    """

    def __init__(self, recipe: Recipe, parameters: Parameters, step: int = 0) -> None:
        arch = architecture(recipe.arch)
        self.arch, self.recipe, self.parameters = arch, recipe, parameters
        members, like = len(parameters.vectors), parameters.vectors
        self.moments = zeros(arch, members, like), zeros(arch, members, like)
        self.steps = like.new_full((), step)
        self._activation = _ACTIVATIONS[arch.activation]
        self._slope = self._activation.slope / (1 - arch.dropout)
        # the first gain is that of the inputs
        self._gains = [1.0] + [self._activation.gain / (1 - arch.dropout)] * len(arch.hidden)
        self.keep(members)

    def keep(self, count: int) -> None:
        """From now on train the first ``count`` members only."""
        self.count = count
        arch, like, batch = self.arch, self.parameters.vectors, self.recipe.batch_size
        self._now, self._gradient = prefix(arch, self.parameters, count), zeros(arch, count, like)
        moments = [prefix(arch, moment, count).tensors() for moment in self.moments]
        self._adam = (self._now.tensors(), self._gradient.tensors(), *moments, [], [self.steps] * len(moments[0]))
        self.inputs = like.new_empty(count, batch, arch.inputs)
        self.target, self.weight, self.error = (like.new_empty(count, batch) for _ in range(3))
        self.kept = like.new_empty(count * batch * sum(arch.hidden))
        parts = torch.split(self.kept, [count * batch * width for width in arch.hidden])
        self._hidden = [_Hidden(part.view(count, batch, -1)) for part in parts]
        self._outs = [self.inputs, *(hidden.out for hidden in self._hidden)]
        self._outs_mt = [out.mT for out in self._outs]
        self._matrices_mt = [matrix.mT for matrix in self._now.matrices]
        self._product = like.new_empty(count, batch, arch.widths[-2])
        self._error_column = self.error.unsqueeze(2)
        self._zero = like.new_zeros(1)

    def forward(self) -> None:
        """Fill ``error`` with score minus target."""
        act, now = self._activation, self._now
        for index, hidden in enumerate(self._hidden):
            alpha = act.inner * self._gains[index]
            torch.baddbmm(
                now.biases[index], self._outs[index], now.matrices[index], beta=act.inner, alpha=alpha, out=hidden.v
            )
            act.forward(hidden)
            if self.arch.dropout:
                hidden.out.mul_(hidden.kept)
        torch.mul(self._outs[-1], now.last_weight, out=self._product)
        torch.sum(self._product, dim=2, out=self.error)
        torch.add(now.last_bias, self.error, alpha=self._gains[-1], out=self.error).sub_(self.target)

    def backward(self) -> None:
        """The gradient of the mean squared error, and a step of Adam."""
        act, now, gradient = self._activation, self._now, self._gradient
        self.error.mul_(self.weight)
        torch.sum(self.error, dim=1, keepdim=True, out=gradient.last_bias)
        torch.addcmul(self._zero, self._outs[-1], self._error_column, value=self._gains[-1], out=self._product)
        torch.sum(self._product, dim=1, keepdim=True, out=gradient.last_weight)
        for index in range(len(self._hidden) - 1, -1, -1):
            hidden = self._hidden[index]
            if index == len(self._hidden) - 1:
                torch.addcmul(self._zero, self._error_column, now.last_weight, value=self._slope, out=hidden.grad)
            else:
                torch.baddbmm(
                    hidden.grad,
                    self._hidden[index + 1].grad,
                    self._matrices_mt[index + 1],
                    beta=0,
                    alpha=self._slope,
                    out=hidden.grad,
                )
            if self.arch.dropout:
                hidden.grad.mul_(hidden.kept)
            act.backward(hidden)
            matrix = gradient.matrices[index]
            torch.baddbmm(matrix, self._outs_mt[index], hidden.grad, beta=0, alpha=self._gains[index], out=matrix)
            torch.sum(hidden.grad, dim=1, keepdim=True, out=gradient.biases[index])
        # the kernel behind torch.optim.Adam(fused=True), whose Python part would take longer than the kernel
        self.steps += 1
        torch._fused_adam_(
            *self._adam,
            lr=self.recipe.lr,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self.recipe.weight_decay,
            eps=_EPS,
            amsgrad=False,
            maximize=False,
        )


class Trainer:
    """Takes a stack through its training, in portions of any size that end with the same bits.

    Args:
        members: what each member of the stack learns from, longest training first, so that those that have ended are
            at the end.
        standardisers: one a member.
        rows: [n, inputs + 1], raw inputs and target of all rows, on the stack's device.
    """

    def __init__(
        self, stack: Stack, members: Sequence[Feed], standardisers: Sequence[Standardiser], rows: Tensor
    ) -> None:
        self._stack, self._members, self._rows = stack, members, rows
        self._mean = _scale([found.mean for found in standardisers], 0.0, stack.arch.inputs, rows)
        self._std = _scale([found.std for found in standardisers], 1.0, stack.arch.inputs, rows)

    @torch.no_grad()
    def advance(self, first: int, most: int, seen: Callable[[Tensor], None] | None = None) -> int:
        """Make up to ``most`` steps from step ``first`` on, fewer where a member comes to its end.

        Args:
            seen: called with the losses of all these steps, [steps, members that are trained].

        Returns:
            The step after the last one made; ``first`` if all members have come to their end.
        """
        stack, lengths = self._stack, [member.steps for member in self._members]
        active = sum(length > first for length in lengths)
        if not active:
            return first
        if active != stack.count:
            stack.keep(active)
        count = min(most, lengths[active - 1] - first)
        rows, weights = self._fed(first, count)
        errors = torch.empty_like(weights)
        for step in self._batches(first, rows, weights):
            stack.forward()
            if seen is not None:
                errors[step] = stack.error
            stack.backward()
        if seen is not None:
            seen(errors.square_().mul_(weights).sum(dim=2) / 2)
        return first + count

    def _batches(self, first: int, rows: Tensor, weights: Tensor) -> Iterator[int]:
        """Fill the stack's inputs, target, weight and kept for one step after the other."""
        stack, batch, count = self._stack, self._stack.recipe.batch_size, len(rows)
        kept = self._kept(first, count) if stack.arch.dropout else None
        mean, std = self._mean[: stack.count], self._std[: stack.count]
        gathered = self._rows.new_empty(stack.count * batch, self._rows.shape[1])
        shaped = gathered.view(stack.count, batch, -1)
        raw, stack.target = shaped[:, :, :-1], shaped[:, :, -1]
        for step in range(count):
            torch.index_select(self._rows, 0, rows[step], out=gathered)
            torch.sub(raw, mean, out=stack.inputs).div_(std)
            stack.weight = weights[step]
            if kept is not None:
                stack.kept.copy_(kept[step])
            yield step

    def _fed(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Rows [count, members x batch] and their weights [count, members, batch] of consecutive steps."""
        stack, batch, like = self._stack, self._stack.recipe.batch_size, self._rows
        fed = [member.rows(first, count) for member in self._members[: stack.count]]
        rows = np.stack([rows for rows, _ in fed], axis=1).reshape(count, -1)
        sizes = np.stack([sizes for _, sizes in fed], axis=1)[:, :, None]
        weights = np.where(np.arange(batch) < sizes, 2 / sizes, 0)
        return torch.from_numpy(rows).to(like.device), torch.from_numpy(weights).to(like)

    def _kept(self, first: int, count: int) -> Tensor:
        """What dropout keeps in consecutive steps: uint8 [count, members x batch x hidden units]."""
        units = [self._stack.recipe.batch_size * width for width in self._stack.arch.hidden]
        kept = np.empty((count, self._stack.count * sum(units)), dtype=np.bool_)
        ends = np.cumsum(units) * self._stack.count
        layers = [layer.reshape(count, self._stack.count, -1) for layer in np.split(kept, ends[:-1], axis=1)]
        for index, member in enumerate(self._members[: self._stack.count]):
            member.kept(first, [layer[:, index] for layer in layers])
        return torch.from_numpy(kept.view(np.uint8)).to(self._rows.device)


def _scale(values: Sequence[NDArray[np.float32]], rest: float, inputs: int, like: Tensor) -> Tensor:
    """[M, 1, inputs]: the values of the features; the codec block is taken as it is."""
    scale = like.new_full((len(values), 1, inputs), rest)
    for index, value in enumerate(values):
        scale[index, 0, : len(value)] = torch.from_numpy(value)
    return scale
