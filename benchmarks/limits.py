"""
Says how near the parts of a training step come to what this CPU can do: its matrix product, its memory.

    python benchmarks/limits.py
    python benchmarks/limits.py --sizes 5x1024 --repeats 3

The rate of fp32 matrix products, the higher one of torch's BLAS and of oneDNN (MKL leaves the AVX-512 of an AMD aside),
and the bandwidth of copies are measured first, on one thread. Each part then runs by itself, forward and backward, on 8
clips of 14 s. Operations are counted from the shapes, a product and a sum as two; a backward pass has as many for the
weights, and again as many for the input where that has a gradient. Bytes are those of inputs, outputs and weights, once
each in either direction: no kernel moves fewer. The limit is the longer of both times; its share is what it is of the
measured time. The input projections are timed as matrix products of their own, by BLAS: inside oneDNN's fused LSTM they
cannot be.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from measuring import median_seconds, write_table
from torch import nn
from training_step import BATCH_SIZE, CHARACTERS_PER_S, FRAMES_PER_S, VOCAB_SIZE, new_model

from deepspeech2.system.devices import set_up_cpu

OUTPUTS = Path(__file__).parents[1] / "outputs" / "benchmarks"
CLIP_S = 14
MATRIX_SIZE, COPIED_BYTES = 2048, 2**28


@dataclass(frozen=True)
class Part:
    """
    Of a training step.

    Args:
        name: in the table.
        forward: from the input to the output.
        input: with requires_grad where the step needs its gradient.
        operations: of the forward pass.
        weights: their number.
    """

    name: str
    forward: Callable[[torch.Tensor], torch.Tensor]
    input: torch.Tensor
    operations: float = 0
    weights: int = 0

    def total_operations(self) -> float:
        return self.operations * (3 if self.input.requires_grad else 2)

    def least_bytes(self) -> float:
        """Forward: input and weights, output. Backward: these, the output's gradient, those of weights and input."""
        size, output = self.input.numel(), self.forward(self.input).numel()
        return 4 * (size + self.weights + output + size + 2 * self.weights + output + size * self.input.requires_grad)

    def time_s(self, repeats: int) -> float:
        def run() -> None:
            output = self.forward(self.input)
            output.backward(torch.ones_like(output))
            self.input.grad = None

        return median_seconds(run, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["3x512", "5x1024"], help="layers x units (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each part (default: %(default)s)")
    args = parser.parse_args()
    set_up_cpu(threads=1)
    rates, bandwidth = matrix_rates(), copy_bandwidth()
    rate = max(rates.values())
    shown = ", ".join(f"{library} {value / 1e9:.1f}" for library, value in rates.items())
    print(f"matrix product in GFLOP/s: {shown}; copy {bandwidth / 1e9:.1f} GB/s; one thread")
    for size in args.sizes:
        rows = []
        for part in parts(size):
            took_s = part.time_s(args.repeats)
            operations, moved = part.total_operations(), part.least_bytes()
            limit_s = max(operations / rate, moved / bandwidth)
            bound = "product" if operations / rate > moved / bandwidth else "memory"
            row = [part.name, f"{operations / 1e9:.1f}", f"{moved / 1e6:.0f}", f"{took_s * 1e3:,.0f}"]
            rows.append([*row, bound, f"{limit_s / took_s:.0%}"])
        write_table(["part", "GFLOP", "MB", "ms", "limit", "share of it"], rows, OUTPUTS / f"limits-{size}.md")


def parts(size: str) -> list[Part]:
    """In the order of the forward pass; the second recurrent layer stands for all later ones."""
    model = new_model(size).train()
    config, encoder = model.config, model.model
    x = torch.randn(BATCH_SIZE, 1, config.num_features, CLIP_S * FRAMES_PER_S + 1)
    found = []
    for number, layer in enumerate(encoder.convs, start=1):
        convolution, layer.conv = layer.conv, nn.Identity()
        with torch.no_grad():
            output = torch.randn_like(convolution(x))
        weights = convolution.weight.numel()
        operations = 2 * output.numel() * weights / convolution.out_channels
        found.append(Part(f"convolution {number}", convolution, x, operations, weights))
        x, lengths = output.requires_grad_(), torch.full((BATCH_SIZE,), output.shape[-1])
        rest = partial(layer, output_lengths=lengths)
        found.append(Part(f"batch norm and clip {number}", rest, x))
    frames = BATCH_SIZE * x.shape[-1]
    for number, layer in enumerate(encoder.layers[:2], start=1):
        width = config.hidden_size if number > 1 else config.rnn_input_size
        x = torch.randn(BATCH_SIZE, frames // BATCH_SIZE, width, requires_grad=True)
        if number > 1:
            norm = partial(encoder.normalise, 0, lengths=lengths)
            found.append(Part("batch norm between", norm, x))
        gates = 2 * 4 * config.hidden_size  # of both directions
        projection = nn.Linear(width, gates)
        weights = gates * width
        found.append(Part(f"input projections {number}", projection, x, 2 * frames * weights, weights))
        weights += gates * config.hidden_size
        whole = partial(layer, lengths=lengths)
        found.append(Part(f"LSTM {number}, projections included", whole, x, 2 * frames * weights, weights))
    weights = model.ctc_head.weight.numel()
    x = torch.randn(BATCH_SIZE, frames // BATCH_SIZE, config.hidden_size, requires_grad=True)
    found.append(Part("head", model.ctc_head, x, 2 * frames * weights, weights))
    labels = torch.randint(1, VOCAB_SIZE, (BATCH_SIZE, CLIP_S * CHARACTERS_PER_S))
    sizes = torch.full((BATCH_SIZE,), labels.shape[1])

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return nn.functional.ctc_loss(logits.log_softmax(-1).transpose(0, 1), labels, lengths, sizes)

    found.append(Part("CTC loss", loss, torch.randn(BATCH_SIZE, frames // BATCH_SIZE, VOCAB_SIZE, requires_grad=True)))
    return found


def matrix_rates() -> dict[str, float]:
    """Operations a second of large products, by the libraries that torch has for them."""
    a, b = torch.randn(2, MATRIX_SIZE, MATRIX_SIZE)
    channels, rows, taps = 256, 64, 3  # a convolution is the way to oneDNN's products
    pixels, kernel = torch.randn(1, channels, rows, rows), torch.randn(channels, channels, taps, taps)
    with torch.inference_mode():
        by_blas_s = median_seconds(lambda: torch.mm(a, b))
        by_onednn_s = median_seconds(lambda: nn.functional.conv2d(pixels, kernel))
    operations = 2 * (channels * taps * (rows - taps + 1)) ** 2
    return {"BLAS": 2 * MATRIX_SIZE**3 / by_blas_s, "oneDNN": operations / by_onednn_s}


def copy_bandwidth() -> float:
    """Bytes read and written a second, of more than the caches hold."""
    source = torch.zeros(COPIED_BYTES // 4)
    target = torch.zeros_like(source)
    return 2 * COPIED_BYTES / median_seconds(lambda: target.copy_(source))


if __name__ == "__main__":
    main()
