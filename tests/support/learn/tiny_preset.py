"""A preset with a training time of a second."""

from __future__ import annotations

from pellucid.learn.train.gpt_model import GPTShape
from pellucid.learn.train.gpt_trainer import Recipe
from pellucid.learn.train.logistic_trainer import LogisticPlan
from pellucid.learn.train.plan import Preset

TINY = Preset(
    shape=GPTShape(layers=1, hidden=32, heads=1, intermediate=64, context=64),
    recipe=Recipe(batch=4, peak=1e-2, warm_up=5),
    logistic=LogisticPlan(reach=4, bits=12, passes=1, steps=60),
    tokenizer="bpe",
    vocabulary=320,
    steps=40,
)
