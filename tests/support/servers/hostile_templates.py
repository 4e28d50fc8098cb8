"""Hostile chat templates, and templates as in well-known families of models."""

from __future__ import annotations

SPIN = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

DEPTH = 5000

HOSTILE = {
    "nested ranges": (SPIN, "processor time|longer than"),
    "nested ranges that write": (
        SPIN.replace("{% endfor %}", "x{% endfor %}", 1),
        r"writes more than 1,0\d\d,\d\d\d characters",
    ),
    "lipsum": ("{{ lipsum(n=10**6) }}", "processor time|longer than"),
    "tojson indent": ("{{ messages | tojson(indent=10**9) }}", "512 MiB"),
    "center": ("{{ 'x'.center(10**10) }}", "512 MiB"),
    "product of constants": ("{{ 'x' * 10**10 }}", "512 MiB"),
    "product": ("{{ messages[0].content * 10**10 }}", "512 MiB"),
    "power": ("{{ 10 ** (10 ** 9) }}", "processor time|longer than|512 MiB"),
    "power at run time": ("{% set n = 10**9 + messages | length %}{{ 10 ** n }}", "processor time|longer than|512 MiB"),
    "endless macro": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deeply"),
    "branching macro": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "processor time|longer than",
    ),
    "width of %": ('{{ "%0999999999d" % 1 }}', "512 MiB"),
    "width of format": ('{{ "{:9999999999}".format(1) }}', "512 MiB"),
    "format filter": ('{{ "%9999999999s" | format("x") }}', "512 MiB"),
    "indent": ("{{ 'a\nb' | indent(10**9) }}", "512 MiB"),
    "wordwrap": ("{{ ('x ' * 10**8) | wordwrap(1) }}", "512 MiB|processor time|longer than"),
    "batch": ("{{ [1] | batch(10**9, 'x') | list }}", "512 MiB"),
    "slice": ("{{ [1] | slice(10**9) | list }}", "512 MiB|processor time|longer than"),
    "doubling": (
        "{% set n = namespace(s='x') %}{% for i in range(99999) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "512 MiB|processor time|longer than",
    ),
    "join": ("{% set a = 'x' * 10**6 %}{{ range(99999) | map('string') | join(a) }}", "512 MiB"),
    "replace": ("{{ ('x' * 10**5).replace('x', 'y' * 10**5) }}", "512 MiB"),
    "long text": ("{{ 'x' * 10**8 }}", "writes more than"),
    "sorting": (
        "{% for i in range(99999) %}{% set x = range(99999) | sort | list %}{% endfor %}",
        "processor time|longer than",
    ),
    "deep parentheses": ("{{ " + "(" * DEPTH + "1" + ")" * DEPTH + " }}", "too deeply"),
    "deep loops": (
        "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
        "cannot be read: too many statically nested blocks",
    ),
    "deep conditions": ("{% if 1 %}" * 2000 + "{% endif %}" * 2000, "too deeply"),
    "deep signs": ("{{ " + "-" * DEPTH + "1 }}", "too deeply"),
    "deep list": (
        "{% set n = namespace(a=[]) %}{% for i in range(99999) %}{% set n.a = [n.a] %}{% endfor %}{{ n.a }}",
        "too deeply",
    ),
    "many sums": ("{{ 1" + " + 1" * 50_000 + " }}", "too deeply|processor time|longer than"),
    "many tags": ("{{ x }}" * 140_000, "has 980,000 characters"),
    "long source": ("x" * 10**8, "has 100,000,000 characters"),
    "long date": ("{{ strftime_now('%Y' * 10**8) }}", "512 MiB|processor time|longer than|refuses"),
    "urlize": ("{{ ('www.' * 10**6) | urlize }}", "writes more than|processor time|longer than"),
    "long refusal": ("{{ raise_exception('x' * 10**7) }}", "refuses these messages: x{1000} …$"),
}
"""Sources, and the error message for each source."""

EVERY_DAY = (
    *("nested ranges", "nested ranges that write", "tojson indent", "product", "power", "endless macro", "join"),
    *("sorting", "deep parentheses", "deep loops", "deep list", "many sums", "many tags", "long date", "long refusal"),
)
"""The names of sources that together reach every limit at compile time and at run time."""

BENIGN = {
    "ChatML": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "Llama 3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
        "+ '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "Mistral": (
        "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
        "{%- set turns = messages[1:] %}"
        "{%- else %}{%- set turns = messages %}{%- endif %}{{- bos_token }}"
        "{%- for message in turns %}\n"
        "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
        "        {{- raise_exception('After the optional system message, roles must alternate user/assistant/...') }}\n"
        "    {%- endif %}\n"
        "    {%- if message['role'] == 'user' %}\n"
        "        {%- if loop.last and system is defined %}"
        "{{- '[INST] ' + system + '\n\n' + message['content'] + '[/INST]' }}\n"
        "        {%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}\n"
        "    {%- else %}{{- ' ' + message['content'] | trim + eos_token }}{%- endif %}\n"
        "{%- endfor %}"
    ),
    "Gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}"
        "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
        "{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
    ),
    "tools": (
        "{%- macro one(tool) %}\n{{- tool.name ~ ': ' ~ tool | tojson(indent=2) }}\n{%- endmacro %}"
        "{%- set ns = namespace(count=0) -%}"
        "{%- for tool in tools or [{'name': 'add', 'of': {'b': 1.5, 'a': none}}] %}{%- set ns.count = ns.count + 1 %}"
        "{{- one(tool) }}{%- endfor %}{{ ns.count }}{% for message in messages %}{% if message.role == 'system' %}"
        "{% continue %}{% endif %}"
        "{% generation %}{{ message.content }}{% endgeneration %}{% if loop.index > 3 %}{% break %}{% endif %}"
        "{% endfor %}"
    ),
    "date": "{{ strftime_now('%Y-%m %B %Z') }} {{ strftime_now('%d') | int > 0 }}",
    "refusal of a type": "{{ messages[0].content + 1 }}",
    "refusal of an attribute": "{{ messages.__class__.__mro__ }}",
    "refusal of a change": "{{ messages.append(1) }}",
    "refusal of a file": "{% include 'secret' %}",
    "undefined": "{{ tools.first.second }}",
    "syntax": "{% if %}",
}
"""Templates with the same text, or the same refusal in a sentence, in every process."""

FILTERS = [
    "'a-b c' | capitalize", "'%s!' | format('x')", "[3, 1, 2] | sort | join(',')", "'a b' | title", "' x ' | trim",
    "'a\nb' | indent(2)", "'aaa bbb' | wordwrap(3)", "'<b>&' | escape", "'<b>x</b>' | striptags",
    "'a b/c?d=é' | urlencode", "'see www.x.org' | urlize", "{'b': 1, 'a': [2]} | dictsort", "{'a': 'é'} | tojson",
    "{'a': 1} | pprint", "{'a': 1, 'b': none} | xmlattr", "[1, 2, 3, 4] | batch(3, 0) | list",
    "[1, 2, 3, 4] | slice(3) | list", "[1, 1, 2] | unique | list", "range(9) | select('odd') | list",
    "range(9) | reject('odd') | sum", "[{'a': 1}, {'a': 2}] | map(attribute='a') | list",
    "[{'a': 1}, {'a': 2}] | groupby('a') | list", "1234567 | filesizeformat", "3.14159 | round(2)",
    "'7' | int + '1.5' | float", "'abc' | reverse", "'abc' | list | first", "'abc' | last", "'a b c' | wordcount",
    "'abcdef' * 99 | truncate(20)", "'x' | default('y')", "{'a': 1} | items | list", "{'a': 1} | attr('b')", "-3 | abs",
    "[1, 2] | max", "'x' | upper | lower | string | length", "'x' | center(9)", "'x' | safe", "'a' | replace('a', 'b')",
    "'<' | forceescape", "[2, 1] | min", "[{'a': 1}, {}] | selectattr('a', 'defined') | list",
    "[{'a': 1}, {}] | rejectattr('a') | list", "lipsum(n=1, html=false) | length > 9", "dict(a=1)",
    "cycler('a', 'b').next()", "joiner(',')()", "'\\u00e9\\x41\\N{BULLET}\\n'", "'é'.encode('utf-8')",
    "'a,b'.split(',')", "'{0!r:>5}'.format('x')",
    "1 is divisibleby(1), 1 is number, 'x' is string, none is none, [] is iterable, {} is mapping", "1 / 0",
]  # fmt: skip
"""Expressions with jinja2's features; some filters import modules when used."""
