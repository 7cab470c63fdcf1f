"""Muon for hardware without bfloat16."""

import torch

# Of the quintic that PyTorch's Muon iterates (Jordan et al. 2024, kellerjordan.github.io/posts/muon), and how often.
_A, _B, _C, _STEPS = 3.4445, -4.7750, 2.0315, 5


class Float32Muon(torch.optim.Muon):
    """PyTorch's Muon, whose matrix products are in bfloat16, in float32.

    A CPU without bfloat16 units computes those a hundred times slower than in float32, and a step of the autoencoder
    takes most of a minute. Checkpoints go from one to the other.

    Args:
        matrices, learning_rate: without weight decay; at Adam's step size (Liu et al. 2025, arXiv:2502.16982).
    """

    def __init__(self, matrices: list[torch.nn.Parameter], learning_rate: float):
        super().__init__(matrices, learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalise(parameter.grad.lerp(momentum, group["momentum"]))
                parameter.add_(update, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix (n, m) with about the same singular vectors, and singular values of 0.7 to 1.2, all but the smallest.

    Each iteration makes (a + b G + c G^2) X of X, G being X X^T. The factors commute with G, and are multiplied with
    each other first: the larger matrix is multiplied twice, not ten times.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalise(matrix.T).T
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    gram = matrix @ matrix.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_STEPS):
        factor = torch.addmm(gram, gram, gram, beta=_B, alpha=_C) + _A * identity
        product = factor @ product
        gram = factor @ gram @ factor
    return product @ matrix
