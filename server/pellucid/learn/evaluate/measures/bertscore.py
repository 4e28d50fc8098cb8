"""BERTScore (Zhang et al. 2020): greedy matching of token vectors by cosine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InvalidRequestError, ModelError


@dataclass(frozen=True, slots=True)
class Similarity:
    """Share of the answer found in the reference (precision) and vice versa (recall)."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total > 0 else 0.0


class Encoder:
    """Token vectors of a local encoder's last layer, without special tokens.

    Without idf weighting and rescaling, scores depend on the encoder.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise InvalidRequestError(
                f"{folder} contains no encoder: name a folder with config.json, safetensors and a tokenizer."
            )
        # The import takes seconds.
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self._model: Any = AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"The encoder in {folder} cannot be read ({str(error).splitlines()[0]}): name another folder "
                "with --encoder."
            ) from None
        self._model.eval()
        self._longest = min(
            int(self._tokenizer.model_max_length), int(getattr(self._model.config, "max_position_embeddings", 512))
        )
        self.name = f"BERTScore ({folder.resolve().name}, last layer, no idf, no rescaling)"

    def compare(self, answer: str, reference: str) -> Similarity:
        """Compare two texts, truncated to the encoder's window. An empty text has no similarity."""
        one, other = self._vectors(answer), self._vectors(reference)
        if not len(one) or not len(other):
            return Similarity(0.0, 0.0)
        cosines = one @ other.T
        return Similarity(float(cosines.max(1).values.mean()), float(cosines.max(0).values.mean()))

    @torch.inference_mode()
    def _vectors(self, text: str) -> Tensor:
        """Return unit vectors (tokens, hidden)."""
        fields = self._tokenizer(
            text,
            return_tensors="pt",
            truncation=True,
            max_length=self._longest,
            return_special_tokens_mask=True,
            verbose=False,
        )
        own = fields.pop("special_tokens_mask")[0] == 0
        if not own.any():
            return torch.zeros(0, 0)
        hidden: Tensor = self._model(**fields).last_hidden_state[0][own]
        return torch.nn.functional.normalize(hidden, dim=-1)
