"""A vLLM plugin that sends the entropy of each choice among its logprobs, where Pellucid reads it.

The entropy H of the whole distribution, in nats, takes the place of the best alternative: as id -1
with "logprob" -H. The alternatives move down by one, and so does the sampled token, whether or not
it is among them: all ranks are larger by one.
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
        if num_logprobs < 1:  # there is no place for it
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
    """Extend vLLM's sampler. vLLM calls this in each of its processes, some of them more than once."""
    from vllm.v1.sample.sampler import Sampler

    if not hasattr(Sampler.gather_logprobs, "__wrapped__"):
        Sampler.gather_logprobs = staticmethod(with_entropy(Sampler.gather_logprobs))
