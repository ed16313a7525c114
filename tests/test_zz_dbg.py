import asyncio
from tests.test_blueprints import *
async def test_dbg(at_home: Lab, hass: HomeAssistant):
    _, web, game = await with_forwards(hass, at_home, restore=False)
    await turn(hass, STATE_ON, web)
    await automate(hass, TURN_ON)
    import time
    hass.bus.async_listen("state_changed", lambda e: print("ST", time.monotonic(), e.data["entity_id"], e.data["old_state"] and e.data["old_state"].state, "->", e.data["new_state"].state, e.data["new_state"].attributes.get("event_type")))
    hass.bus.async_listen("call_service", lambda e: print("CALL", time.monotonic(), e.data))
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(web).state == STATE_ON)
