"""A model server whose answer to every question has a sure beginning and a doubtful rest. Serves until it is killed; prints its address."""

from __future__ import annotations

import threading

from support.editors.token_factory import token
from support.servers.http_servers import ScriptedAssistant, live, scripted_state

if __name__ == "__main__":
    assistant = ScriptedAssistant()
    assistant.script = [*map(token, ["urn", " add(a)", ".total"]), token(" + b", 0.45), token("\n"), token("x")]
    with live(scripted_state(assistant)) as server:
        print(server.url, flush=True)
        threading.Event().wait()
