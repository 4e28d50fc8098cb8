"""Chat with a running server through the openai package, and print each token with its probability.

Start a server first (``pellucid serve``), then run this command:
python examples/openai_client.py http://127.0.0.1:8437
"""

from __future__ import annotations

import sys
from math import exp

from openai import OpenAI


def main(url: str = "http://127.0.0.1:8437", api_key: str = "none") -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key=api_key)
    answer = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": "Name a prime number above 10."}],
        max_tokens=24,
        logprobs=True,
        top_logprobs=3,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    for token in logprobs.content:
        others = ", ".join(f"{other.token!r} {exp(other.logprob):.1%}" for other in token.top_logprobs)
        print(f"{exp(token.logprob):6.1%}  {token.token!r:16}  {others}")


if __name__ == "__main__":
    main(*sys.argv[1:])
