"""The transformer that refines CoTracker3's tracks: attention along time, then among the points of each frame.

Points do not attend to one another but to 64 learned virtual tracks, so the cost grows linearly with the number of
points. Module and parameter names are those of the official checkpoints, `virual_tracks` with its spelling included.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 384
HEADS = 8
ROUNDS = 3
VIRTUAL_TRACKS = 64


class Attention(nn.Module):
    """Multi-head attention, scaled by the root of the head's width."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH)
        self.to_kv = nn.Linear(WIDTH, 2 * WIDTH)  # keys, then values
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """What x (B, L, C) finds in context (B, S, C): (B, L, C)."""
        keys, values = self.to_kv(context).chunk(2, -1)
        found = F.scaled_dot_product_attention(_heads(self.to_q(x)), _heads(keys), _heads(values))
        answer: Tensor = self.to_out(found.transpose(1, 2).flatten(2))
        return answer


class Mlp(nn.Module):
    """Two layers of each token for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        found: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return found


class SelfBlock(nn.Module):
    """Tokens attend to one another."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        normal = _normalise(x)
        x = x + self.attn(normal, normal)
        return x + self.mlp(_normalise(x))


class CrossBlock(nn.Module):
    """Tokens attend to a context."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_context = nn.LayerNorm(WIDTH, eps=1e-5)
        self.cross_attn = Attention()
        self.mlp = Mlp()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """X (B, L, C) and context (B, S, C) to (B, L, C)."""
        x = x + self.cross_attn(_normalise(x), self.norm_context(context))
        return x + self.mlp(_normalise(x))


class UpdateFormer(nn.Module):
    """Tokens of all points and frames to corrections of position, visibility and confidence."""

    def __init__(self, n_token: int) -> None:
        super().__init__()
        self.input_transform = nn.Linear(n_token, WIDTH)
        self.virual_tracks = nn.Parameter(0.02 * torch.randn(1, VIRTUAL_TRACKS, 1, WIDTH))
        self.time_blocks = nn.ModuleList(SelfBlock() for _ in range(ROUNDS))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock() for _ in range(ROUNDS))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock() for _ in range(ROUNDS))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock() for _ in range(ROUNDS))
        self.flow_head = nn.Linear(WIDTH, 2)
        self.vis_conf_head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, T, n_token) to dx, dy in cells, visibility logit, confidence logit: (N, T, 4)."""
        points = self.input_transform(tokens)
        virtual = self.virual_tracks[0]  # one frame stands for all: equal tokens find the same in one as in T of them
        for k in range(ROUNDS):
            points = self.time_blocks[k](points)
            virtual = self.time_blocks[k](virtual).expand(-1, tokens.shape[1], -1)
            points, virtual = self._across_points(k, points.transpose(0, 1), virtual.transpose(0, 1))
        return torch.cat([self.flow_head(points), self.vis_conf_head(points)], -1)

    def _across_points(self, k: int, points: Tensor, virtual: Tensor) -> tuple[Tensor, Tensor]:
        """Points (T, N, C) and virtual tracks (T, V, C) exchange what they know; both come back with tracks first."""
        virtual = self.space_virtual2point_blocks[k](virtual, points)
        virtual = self.space_virtual_blocks[k](virtual)
        points = self.space_point2virtual_blocks[k](points, virtual)
        return points.transpose(0, 1), virtual.transpose(0, 1)


def _normalise(x: Tensor) -> Tensor:
    return F.layer_norm(x, (WIDTH,), eps=1e-6)


def _heads(x: Tensor) -> Tensor:
    """(B, L, C) to (B, heads, L, C / heads)."""
    return x.reshape(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
