"""A vLLM plugin that sends the entropy of each choice to Pellucid, among the logprobs.

The entropy H of the whole distribution, in nats, replaces the best alternative: id -1 with
"logprob" -H. The alternatives and the sampled token move down by one, so all ranks grow by one.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch

ENTROPY_ID = -1


def with_entropy(gather: Any) -> Any:
    """Return ``gather_logprobs``, extended by the entropy of each row."""

    @wraps(gather)
    def gather_with_entropy(logprobs: torch.Tensor, num_logprobs: int, token_ids: torch.Tensor) -> Any:
        found = gather(logprobs, num_logprobs, token_ids)
        if num_logprobs < 1:  # No place for the entropy.
            return found
        ids, values = found.logprob_token_ids.clone(), found.logprobs.clone()
        ids[:, 2:], values[:, 2:] = found.logprob_token_ids[:, 1:-1], found.logprobs[:, 1:-1]
        ids[:, 1] = ENTROPY_ID
        values[:, 1] = torch.special.entr(logprobs.exp()).sum(dim=-1).neg()
        return found._replace(
            logprob_token_ids=ids, logprobs=values, selected_token_ranks=found.selected_token_ranks + 1
        )

    return gather_with_entropy


def register() -> None:
    """Extend vLLM's sampler. Each vLLM process calls this function, perhaps several times."""
    from vllm.v1.sample.sampler import Sampler

    if not hasattr(Sampler.gather_logprobs, "__wrapped__"):
        Sampler.gather_logprobs = staticmethod(with_entropy(Sampler.gather_logprobs))
