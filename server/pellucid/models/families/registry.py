"""All families that the lean decoder computes."""

from __future__ import annotations

from pellucid.models.families.experts import GPT_OSS, MELLUM2, MIXTRAL, OLMOE, QWEN3_MOE
from pellucid.models.families.family import Family
from pellucid.models.families.gemma import GEMMA, GEMMA2, GEMMA3
from pellucid.models.families.glm4 import GLM4
from pellucid.models.families.granite import GRANITE, GRANITE_DENSE_HYBRID, GRANITE_MOE
from pellucid.models.families.lfm2 import LFM2
from pellucid.models.families.llama import LLAMA
from pellucid.models.families.ministral import MINISTRAL
from pellucid.models.families.olmo import OLMO
from pellucid.models.families.phi import PHI
from pellucid.models.families.qwen import QWEN2, QWEN3
from pellucid.models.families.qwen35 import QWEN35
from pellucid.models.families.smollm3 import SMOLLM3

FAMILIES: tuple[Family, ...] = (
    *(LLAMA, QWEN2, QWEN3, GRANITE, GRANITE_DENSE_HYBRID, SMOLLM3, MINISTRAL, OLMO, PHI),
    *(GEMMA, GEMMA2, GEMMA3, GLM4),
    *(LFM2, QWEN35),
    *(QWEN3_MOE, MIXTRAL, OLMOE, MELLUM2, GRANITE_MOE, GPT_OSS),
)

BY_MODEL_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}

BY_ARCHITECTURE = {family.architecture: family for family in FAMILIES if family.architecture}
