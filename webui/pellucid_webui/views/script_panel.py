"""Areas of the page for the ES modules."""

from __future__ import annotations

from typing import Any

import gradio as gr

MOUNT = """
import("pellucid").then((page) => {{
  const component = {{ element, props, watch, act: (data) => trigger("act", data) }};
  page.{mount}({component});
}});
"""


def script_panel(mount: str, elem_id: str, value: Any = None, *, shared_as: str = "") -> gr.HTML:
    """Add an area for the function ``mount`` of ``main.js``.

    Other modules follow and use the component under the name ``shared_as``.
    """
    component = f'page.shared("{shared_as}", component)' if shared_as else "component"
    script = MOUNT.format(mount=mount, component=component)
    return gr.HTML(value=value, html_template="", js_on_load=script, elem_id=elem_id, apply_default_css=False)
