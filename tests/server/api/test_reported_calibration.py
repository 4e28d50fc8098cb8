"""A server reports each model's current calibration."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.completion.edits.edit_gate import EditGate
from pellucid.models.calibrations import FORMAT, NOT_OWN, CalibrationFile, default_edit_calibration
from support.servers.http_servers import TINY, TINY_PLAIN, live, tiny_assistant


async def test_told(tmp_path: Path) -> None:
    """A model's revision and current calibration are reported, if the model has a store."""
    file = CalibrationFile(tmp_path / "tiny.json", "these")
    assistant, engine = tiny_assistant(calibration=file)
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        async with Client(server.url) as client:
            before, _ = await client.cards()
            file.write({"kind": "raw"})
            after, plain = await client.cards()
            near, _ = await assistant.cards()
            file.path.write_text("{")
            damaged, _ = await client.cards()
            file.path.write_text(json.dumps({"format": FORMAT, "key": "these", "low": -math.inf}))
            infinite, _ = await client.cards()
            file.of_edits().write(EditGate(0.1, 0.9).record)
            own_edits, _ = await client.cards()
    engine.close()

    assert (before.calibration, before.calibration_note) == (
        None,
        "This model is not calibrated: run `pellucid calibrate` on one of your folders.",
    )
    assert after == near
    assert (before.edit_calibration, before.edit_calibration_note) == (default_edit_calibration(), NOT_OWN)
    assert own_edits.edit_calibration is not None
    assert (own_edits.edit_calibration["numbers"], own_edits.edit_calibration_note) == ([0.1, 0.9], None)
    assert (plain.edit_calibration, plain.edit_calibration_note) == (None, None)
    assert after.calibration is not None
    assert (after.calibration["kind"], after.calibration_note) == ("raw", None)
    assert damaged.calibration is None
    assert "cannot be read" in (damaged.calibration_note or "")
    assert infinite.calibration is None
    assert "is damaged" in (infinite.calibration_note or "")
    assert (after.revision, plain.revision) == ("these", None)
    assert (plain.name, plain.calibration, plain.calibration_note) == (TINY_PLAIN, None, None)
