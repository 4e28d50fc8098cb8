"""The loss of a batch, with logits only at labels, a few rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.learn.finetune.training.samples import Kind, Sample

LOGIT_ROWS = 256
"""Rows of logits in memory: with a vocabulary of 151,936, 156 MB in float32."""


class _HeadLoss(torch.autograd.Function):
    """Weighted sum of -log p under a frozen head, with a gradient for the hidden states only.

    The gradient is computed in the forward pass, so that logits are neither stored nor recomputed.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, cap: float
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum, and -log p (n,).

        Shapes: hidden (n, width), head (vocabulary, width), targets (n,), weights (n,).
        """
        gradient = torch.empty_like(hidden)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for begin in range(0, len(hidden), LOGIT_ROWS):
            rows = slice(begin, begin + LOGIT_ROWS)
            logits = capped(F.linear(hidden[rows], head).float(), cap)
            logprobs = logits.log_softmax(-1)
            chosen = targets[rows, None]
            losses[rows] = -logprobs.gather(1, chosen)[:, 0]
            if ctx.needs_input_grad[0]:
                slope = logprobs.exp_().scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=torch.float32))
                if cap:
                    slope *= 1 - (logits / cap).square()
                gradient[rows] = F.linear(slope.mul_(weights[rows, None]).to(head.dtype), head.T)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None, None


def capped(logits: Tensor, cap: float) -> Tensor:
    return cap * torch.tanh(logits / cap) if cap else logits


def head_scale_and_cap(config: Any) -> tuple[float, float]:
    """Return the factor of logits, and the cap or 0, as the library applies both after the head."""
    return 1 / getattr(config, "logits_scaling", 1.0), getattr(config, "final_logit_softcapping", None) or 0.0


def batch_loss(model: nn.Module, samples: Sequence[Sample], weights: Sequence[float]) -> tuple[Tensor, list[float]]:
    """Return the weighted sum of -log p over all labels, and each sample's unweighted sum, in nats.

    Samples are padded on the right; causal attention does not reach the padding.
    """
    core: Any = model
    head: Tensor = core.lm_head.weight
    longest = max(len(sample.ids) for sample in samples)
    ids = torch.zeros((len(samples), longest), dtype=torch.int64)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
    hidden: Tensor = core.model(input_ids=ids.to(head.device), use_cache=False).last_hidden_state
    rows = torch.cat([row * longest + torch.arange(s.labelled - 1, len(s.ids) - 1) for row, s in enumerate(samples)])
    targets = torch.cat([torch.tensor(s.ids[s.labelled :]) for s in samples]).to(head.device)
    weighed = torch.cat([torch.full((s.labels,), weight) for s, weight in zip(samples, weights, strict=True)]).to(
        head.device
    )
    scale, cap = head_scale_and_cap(core.config)
    labelled = hidden.flatten(0, 1)[rows.to(head.device)] * scale
    total, losses = _HeadLoss.apply(labelled, head, targets, weighed, cap)  # type: ignore[no-untyped-call]
    return total, [float(part.sum()) for part in losses.detach().split([s.labels for s in samples])]


def label_weights(samples: Sequence[Sample]) -> list[float]:
    """Return the weight of a label in each sample.

    Each kind's share of the loss is the kind's share of the samples. An infill has about ten labels
    and a text hundreds: a plain mean would train almost only on texts.
    """
    labels: dict[Kind, int] = {}
    counts: dict[Kind, int] = {}
    for sample in samples:
        labels[sample.kind] = labels.get(sample.kind, 0) + sample.labels
        counts[sample.kind] = counts.get(sample.kind, 0) + 1
    return [counts[sample.kind] / len(samples) / labels[sample.kind] for sample in samples]
