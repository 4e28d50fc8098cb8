"""Scores texts with a transformers model (see :mod:`pellucid.learn.score_text`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import torch

from pellucid.learn.finetune.training.loss import capped, head_scale_and_cap
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.prompts import with_bos
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Alternative, Token

LOGIT_ROWS = 256


class TorchReader:
    """Scores token ids. The only alternative of a token is the model's first choice."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        return with_bos(self._tokenizer, self._tokenizer.encode(text))

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Score token ids. Texts and messages are not supported."""
        ids = [id for id in query.text if isinstance(id, int)]
        assert len(ids) == len(query.text), "ids are read"
        for token in self._tokens(ids):
            yield token
        yield Finish(FinishReason.STOP, Usage(computed=len(ids)))

    @torch.inference_mode()
    def _tokens(self, ids: list[int]) -> list[Token]:
        hidden = self._model.model(
            input_ids=torch.tensor([ids], device=self._model.device), use_cache=False
        ).last_hidden_state[0]
        tokens = [self._token(0, ids[0], None, None, None, ())]
        scale, cap = head_scale_and_cap(self._model.config)
        for begin in range(0, len(ids) - 1, LOGIT_ROWS):
            logits = self._model.lm_head(hidden[begin : min(begin + LOGIT_ROWS, len(ids) - 1)] * scale).float()
            logprobs = capped(logits, cap).log_softmax(-1)
            targets = torch.tensor(ids[begin + 1 : begin + 1 + len(logprobs)], device=logprobs.device)
            target_logprobs = logprobs.gather(1, targets[:, None])
            best, first = logprobs.max(-1)
            columns = (
                target_logprobs[:, 0],
                (logprobs > target_logprobs).sum(-1) + 1,
                -(logprobs.exp() * logprobs).nansum(-1),
                best,
                first,
            )
            for offset, (logprob, rank, entropy, top, id) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            ):
                position = begin + 1 + offset
                alternative = Alternative(id, "", self._tokenizer.token_bytes(id), top)
                tokens.append(self._token(position, ids[position], logprob, rank, entropy, (alternative,)))
        return tokens

    def _token(
        self,
        position: int,
        id: int,
        logprob: float | None,
        rank: int | None,
        entropy: float | None,
        top: tuple[Alternative, ...],
    ) -> Token:
        return Token(id, "", self._tokenizer.token_bytes(id), position, logprob, rank, entropy, top)
