"""Train many members of one architecture at once, as batched matrices with a hand-written forward and backward pass.

The results are those of :mod:`kit.training.loop`. Every tensor has the members as its first axis, and only kernels are
used whose result for a member does not depend on the number of members: products of matrices with several columns,
element-wise kernels, sums over inner axes. (A product with one column does: the output layer multiplies and sums.)

Constants are kept out of the element-wise kernels: a hidden layer stores its activation divided by ``gain``, and its
pre-activation times ``inner``; both factors go into the matrix products, where they cost nothing.
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
from kit.training.recipe import Architecture, Recipe
from kit.training.standardiser import Standardiser

#: Parameters of a member are padded to a multiple of this, so that each member is aligned to vector registers.
_ALIGNED = 64
#: Adam's other numbers, as in torch.optim.Adam.
_BETAS, _EPS = (0.9, 0.999), 1e-8


def prepare_cpu() -> None:
    """Use one thread: the matrices are too small for more, and members are spread over processes.

    Flush numbers below 1e-38 to zero if the CPU can: weights of encoders without rows shrink to such numbers, which are
    slow to compute with.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class _Gelu:
    """GELU z Φ(z) with v = z/√2: stores v (1 + erf v); the derivative is ½ (1 + erf v + 2/√π v exp(-v²))."""

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
    """Buffers of one hidden layer, [M, batch, width] each: ``v`` and ``out`` are stored before and after the
    activation, ``extra`` by the activation for its derivative.
    """

    def __init__(self, kept: Tensor) -> None:
        self.v, self.extra, self.out, self.grad, self.scratch = (torch.empty_like(kept) for _ in range(5))
        self.kept, self.zero = kept, kept.new_zeros(1)


class Parameters:
    """Numbers of M members in one layout: weights, or their gradient, or one of Adam's moments.

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
        """Return every number once."""
        return [*self.matrices, self.vectors]


def zeros(arch: Architecture, count: int, like: Tensor) -> Parameters:
    """Return parameters of ``count`` members, all zero, of the type and on the device of ``like``."""
    stride = -(-(sum(arch.hidden) + arch.widths[-2] + 1) // _ALIGNED) * _ALIGNED
    shapes = pairwise(arch.widths[:-1])
    return Parameters(arch, [like.new_zeros(count, *shape) for shape in shapes], like.new_zeros(count, stride))


def prefix(arch: Architecture, parameters: Parameters, count: int) -> Parameters:
    """Return the first ``count`` members, as views."""
    return Parameters(arch, [matrix[:count] for matrix in parameters.matrices], parameters.vectors[:count])


@torch.no_grad()
def put(parameters: Parameters, index: int, network: Network) -> None:
    """Copy a network's weights into a member."""
    for layer, (matrix, bias) in enumerate(zip(parameters.matrices, parameters.biases, strict=True)):
        matrix[index] = network.weights[layer].mT
        bias[index, 0] = network.biases[layer]
    parameters.last_weight[index], parameters.last_bias[index] = network.weights[-1], network.biases[-1]


@torch.no_grad()
def take(parameters: Parameters, index: int, network: Network) -> None:
    """Copy a member's weights into a network."""
    for layer, (matrix, bias) in enumerate(zip(parameters.matrices, parameters.biases, strict=True)):
        network.weights[layer].copy_(matrix[index].mT)
        network.biases[layer].copy_(bias[index, 0])
    network.weights[-1].copy_(parameters.last_weight[index])
    network.biases[-1].copy_(parameters.last_bias[index])


class Stack:
    """Parameters and Adam state of M members, and their training step.

    Attributes:
        parameters, moments: of all M members, finished ones included.
        steps: number of steps so far, a tensor without axes.
        count: number of members in training; the shapes below use it.
        inputs: [count, batch, inputs] and target, weight: [count, batch], set before each step. The weight is 2/n for
            the n rows of the batch and 0 for padding.
        kept: [count x batch x hidden units], 0 and 1, hidden layer after hidden layer, set if there is dropout.
        error: [count, batch], score minus target; after ``backward`` times weight.
    """

    def __init__(self, recipe: Recipe, parameters: Parameters, step: int = 0) -> None:
        arch = recipe.architecture
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
        """Train only the first ``count`` members from now on."""
        self.count = count
        arch, like, batch = self.arch, self.parameters.vectors, self.recipe.batch_size
        self._now, self._gradient = prefix(arch, self.parameters, count), zeros(arch, count, like)
        moments = [prefix(arch, moment, count).tensors() for moment in self.moments]
        self._adam = (self._now.tensors(), self._gradient.tensors(), *moments, [], [self.steps] * len(moments[0]))
        self.inputs = like.new_empty(count, batch, arch.widths[0])
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
        """Write score minus target to ``error``."""
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
        """Compute the gradient of the mean squared error and take a step of Adam."""
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
        # the kernel of torch.optim.Adam(fused=True), whose Python part takes longer than the kernel
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
    """Train a stack in portions of steps; the size of a portion does not change a bit of the result.

    Args:
        members: batches of each member, longest training first, so that finished members are at the end.
        standardisers: one per member.
        rows: [n, inputs + 1], raw inputs and target of all rows, on the stack's device.
    """

    def __init__(
        self, stack: Stack, members: Sequence[Feed], standardisers: Sequence[Standardiser], rows: Tensor
    ) -> None:
        self._stack, self._members, self._rows = stack, members, rows
        self._mean = _scale([scale.mean for scale in standardisers], 0.0, stack.arch.widths[0], rows)
        self._std = _scale([scale.std for scale in standardisers], 1.0, stack.arch.widths[0], rows)

    @torch.no_grad()
    def advance(self, first: int, most: int, on_losses: Callable[[Tensor], None] | None = None) -> int:
        """Take up to ``most`` steps from step ``first`` on, fewer if a member finishes.

        Args:
            on_losses: called with the losses of these steps, [steps, members in training].

        Returns:
            The step after the last one; ``first`` if all members are finished.
        """
        stack, lengths = self._stack, [member.steps for member in self._members]
        active = sum(length > first for length in lengths)
        if not active:
            return first
        if active != stack.count:
            stack.keep(active)
        count = min(most, lengths[active - 1] - first)
        rows, weights = self._batch_rows(first, count)
        errors = torch.empty_like(weights)
        for step in self._batches(first, rows, weights):
            stack.forward()
            if on_losses is not None:
                errors[step] = stack.error
            stack.backward()
        if on_losses is not None:
            on_losses(errors.square_().mul_(weights).sum(dim=2) / 2)
        return first + count

    def _batches(self, first: int, rows: Tensor, weights: Tensor) -> Iterator[int]:
        """Set the stack's inputs, target, weight and kept, one step after the other."""
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

    def _batch_rows(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return rows [count, members x batch] and their weights [count, members, batch] of consecutive steps."""
        stack, batch, like = self._stack, self._stack.recipe.batch_size, self._rows
        batches = [member.rows(first, count) for member in self._members[: stack.count]]
        rows = np.stack([rows for rows, _ in batches], axis=1).reshape(count, -1)
        sizes = np.stack([sizes for _, sizes in batches], axis=1)[:, :, None]
        weights = np.where(np.arange(batch) < sizes, 2 / sizes, 0)
        return torch.from_numpy(rows).to(like.device), torch.from_numpy(weights).to(like)

    def _kept(self, first: int, count: int) -> Tensor:
        """Return the dropout masks of consecutive steps: uint8 [count, members x batch x hidden units]."""
        units = [self._stack.recipe.batch_size * width for width in self._stack.arch.hidden]
        kept = np.empty((count, self._stack.count * sum(units)), dtype=np.bool_)
        ends = np.cumsum(units) * self._stack.count
        layers = [layer.reshape(count, self._stack.count, -1) for layer in np.split(kept, ends[:-1], axis=1)]
        for index, member in enumerate(self._members[: self._stack.count]):
            member.kept(first, [layer[:, index] for layer in layers])
        return torch.from_numpy(kept.view(np.uint8)).to(self._rows.device)


def _scale(values: Sequence[NDArray[np.float32]], rest: float, inputs: int, like: Tensor) -> Tensor:
    """Return [M, 1, inputs]: ``values`` for the features, ``rest`` for the codec block, which is not scaled."""
    scale = like.new_full((len(values), 1, inputs), rest)
    for index, value in enumerate(values):
        scale[index, 0, : len(value)] = torch.from_numpy(value)
    return scale
