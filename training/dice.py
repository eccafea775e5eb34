"""Draws from one generator, so that one seed makes one subject, one scanner, one clip."""

import torch


class Dice:
    """Random numbers as a simulator asks for them."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def normal(self, mean: float, sd: float, low: float, high: float) -> float:
        """Normal, held within low and high."""
        return min(max(mean + sd * float(torch.randn((), generator=self.generator)), low), high)

    def happens(self, share: float) -> bool:
        """True in that share of the draws."""
        return self.between(0.0, 1.0) < share

    def pick(self, count: int) -> int:
        """One of 0 .. count - 1."""
        return int(torch.randint(count, (), generator=self.generator))
