"""Home Assistant itself, with its integrations `mqtt` and `mjpeg` set up as its pages set them up, and nothing else of it.

usage: home_assistant.py BROKER PORT NAME=STILL,STREAM,PASSWORD...

Each NAME is an "MJPEG IP Camera" with HTTP Basic; an empty PASSWORD is none. Prints each change of a state as `ENTITY is STATE`, and
each second for each camera `ENTITY shows a picture`, `ENTITY shows no picture` or `ENTITY fails: WHY`. It takes the packages of home_assistant.txt.
"""

import asyncio
import json
import pathlib
import socket
import sys
import tempfile

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.components import camera
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.setup import async_setup_component

CREATED = "2025-01-01T00:00:00+00:00"


def entry(domain, number, title, data, options):
    """What the page of an integration writes down when it is done."""
    return {
        "created_at": CREATED,
        "data": data,
        "disabled_by": None,
        "discovery_keys": {},
        "domain": domain,
        "entry_id": f"{domain}{number}",
        "minor_version": 2 if domain == "mqtt" else 1,
        "modified_at": CREATED,
        "options": options,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": title,
        "unique_id": None,
        "version": 1,
    }


def entries(broker, port, cameras):
    yield entry("mqtt", 0, broker, {"broker": broker, "port": int(port)}, {"discovery": True})
    for number, text in enumerate(cameras):
        name, addresses = text.split("=", 1)
        still, stream, password = addresses.rsplit(",", 2)
        login = {"username": "anybody", "password": password} if password else {"username": None, "password": ""}
        where = {"still_image_url": still, "mjpeg_url": stream, "authentication": "basic", "verify_ssl": False}
        yield entry("mjpeg", number, name, {}, where | login)


async def start(folder):
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    # Its own page takes no 0 for a free port.
    with socket.create_server(("127.0.0.1", 0)) as free:
        settings = {"http": {"server_host": ["127.0.0.1"], "server_port": free.getsockname()[1]}}
    for name in ["homeassistant", "http", "mqtt", "camera", "mjpeg"]:
        if not await async_setup_component(hass, name, settings):
            sys.exit(f"{name} cannot be set up")
    return hass


async def look(hass, entity):
    try:
        image = await camera.async_get_image(hass, entity, timeout=5)
        # What an address answers in place of a picture is taken for one.
        what = "a picture" if image.content.startswith(b"\xff\xd8") else "no picture"
        print(f"{entity} shows {what}", flush=True)
    except Exception as error:
        print(f"{entity} fails: {error}", flush=True)


async def main(broker, port, *cameras):
    folder = tempfile.mkdtemp()
    pathlib.Path(folder, "configuration.yaml").touch()
    storage = pathlib.Path(folder, ".storage")
    storage.mkdir()
    kept = {"version": 1, "minor_version": 5, "key": "core.config_entries"}
    kept["data"] = {"entries": list(entries(broker, port, cameras))}
    (storage / "core.config_entries").write_text(json.dumps(kept))
    hass = await start(folder)

    def changed(event):
        state = event.data["new_state"]
        print(f"{event.data['entity_id']} is {state.state if state else 'removed'}", flush=True)

    hass.bus.async_listen(EVENT_STATE_CHANGED, core.callback(changed))
    await hass.async_start()
    while True:
        await asyncio.sleep(1)
        for entity in hass.states.async_entity_ids("camera"):
            await look(hass, entity)


asyncio.run(main(*sys.argv[1:]))
