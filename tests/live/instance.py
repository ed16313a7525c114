"""A real Home Assistant: a process of its own in the lab, with our integration."""

from http import HTTPStatus
import json
from pathlib import Path
import re
import shutil
import socket
import subprocess
import sys
from textwrap import dedent
from types import TracebackType
from typing import Any, Final, Self

from tests.lab.node import Node
from tests.lab.waiting import LIMIT, tries

from .client import LOOPBACK, Client, RequestRefused

DOMAIN: Final = "bypass_router"
PORT: Final = 8123
USERNAME: Final = "demo"
PASSWORD: Final = "the lab's demo"
REPOSITORY: Final = Path(__file__).parents[2]

# Any Linux has this folder, and nothing that runs in the lab reads from it.
_FOLDER: Final = "/boot"
_CLIENT_ID: Final = f"http://{LOOPBACK}:{PORT}/"

_CONFIGURATION: Final = """\
    homeassistant:
      name: Lab
      latitude: 35.0
      longitude: 139.0
      elevation: 0
      unit_system: metric
      time_zone: UTC
      country: JP
    config:
    history:
    logbook:
    logger:
      default: warning
      logs:
        custom_components.bypass_router: debug
"""
_STORAGE: Final = {
    "http": {
        "version": 2,
        "minor_version": 2,
        "data": {
            "stable": {
                "server_host": [LOOPBACK],
                "server_port": PORT,
                "cors_allowed_origins": [],
                "login_attempts_threshold": -1,
                "ip_ban_enabled": True,
                "ssl_profile": "modern",
                "use_x_frame_options": True,
                "created_at": "2026-01-01T00:00:00+00:00",
                "error": None,
                "error_message": None,
            },
            "pending": None,
            "yaml_migration_done": True,
        },
    },
    "onboarding": {
        "version": 4,
        "minor_version": 1,
        "data": {"done": ["core_config", "analytics", "integration"]},
    },
}
_PID_FILE: Final = "process"
"""Holds its process id, as its own node counts."""
# Each record of the log begins so; its traceback follows in lines of their own.
_RECORD = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:)", re.MULTILINE)
_BAD = re.compile(r"\S+ \S+ (?:WARNING|ERROR|CRITICAL) ")
_OURS = re.compile(r"bypass_router|asyncssh")
# Said of every custom integration.
_EXPECTED = re.compile(r"has not been tested by Home Assistant")


class InstanceFailed(Exception):
    """Home Assistant did not do what it has to; the message is one plain sentence."""


class HomeAssistant:
    """Home Assistant on a machine of the lab; all calls wait until it is done.

    Its folder outlives `stop` and `kill`. It is in memory, in the machine's own mount
    namespace, and so is gone with the lab, whatever ends that.
    """

    def __init__(self, node: Node) -> None:
        """Install it; `start` boots it."""
        self._node = node
        self._process: subprocess.Popen[str] | None = None
        node.run("mount", "-t", "tmpfs", "tmpfs", _FOLDER)
        self.config: Final = Path(f"{node.root}{_FOLDER}")
        """Its folder, as a path that can be used from outside of the lab."""
        self._log = self.config / "home-assistant.stderr"
        self._install()
        self._client = Client(node, PORT)

    def _install(self) -> None:
        """Write the configuration, and copy our integration in, as HACS does."""
        (self.config / "configuration.yaml").write_text(dedent(_CONFIGURATION))
        (self.config / ".storage").mkdir()
        for key, stored in _STORAGE.items():
            text = json.dumps({**stored, "key": key})
            (self.config / ".storage" / key).write_text(text)
        shutil.copytree(
            REPOSITORY / "custom_components" / DOMAIN,
            self.config / "custom_components" / DOMAIN,
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    def __enter__(self) -> Self:
        """Boot it."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing behind."""
        self.close()

    def close(self) -> None:
        """Kill it if it runs, and wipe its folder."""
        if self._process is not None:
            self.kill()
        self._client.close()
        self._node.run("umount", _FOLDER)

    def start(self) -> None:
        """Boot it, and wait until it runs; the first time, make the user."""
        with self._log.open("a") as log:
            self._process = self._node.spawn(
                # Its own folder, or it would take the integration of this one.
                *("env", "-C", _FOLDER, f"HOME={_FOLDER}"),
                *("sh", "-c", f'echo $$ >{_PID_FILE}; exec "$@"', "sh"),
                *(sys.executable, "-m", "homeassistant"),
                *("-c", _FOLDER, "--skip-pip", "--log-no-color"),
                stdout=log.fileno(),
                stderr=log.fileno(),
            )
        for _ in tries():
            if self._runs():
                return
            if self._process.poll() is not None:
                status = self._process.returncode
                raise InstanceFailed(
                    f"Home Assistant ended with status {status}: {self.last_words()}"
                )
        raise InstanceFailed(
            f"Home Assistant did not start within {LIMIT:g} s: {self.last_words()}"
        )

    def _runs(self) -> bool:
        """Return whether it has come up."""
        try:
            if self._client.token is None:
                self._make_user()
            return bool(self.api("GET", "/api/config")["state"] == "RUNNING")
        except OSError, RequestRefused:
            return False

    def _make_user(self) -> None:
        """Make the first user, and a token that every later start accepts."""
        user = {"name": "Demo", "username": USERNAME, "password": PASSWORD}
        code = self.api(
            "POST",
            "/api/onboarding/users",
            {**user, "client_id": _CLIENT_ID, "language": "en"},
        )["auth_code"]
        tokens = self._client.request(
            "POST",
            "/auth/token",
            form={
                "grant_type": "authorization_code",
                "client_id": _CLIENT_ID,
                "code": code,
            },
        )
        self._client.token = tokens["access_token"]
        self._client.token = self.command(
            "auth/long_lived_access_token", client_name="Lab", lifespan=365
        )

    @property
    def token(self) -> str:
        """What lets a client in."""
        assert self._client.token is not None, "Home Assistant was never started"
        return self._client.token

    def stop(self) -> None:
        """End it by SIGTERM, so that it writes all down; raises if it can't end."""
        self._signal("TERM")
        process, self._process = self._running(), None
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._node.stop(process)
            raise InstanceFailed(
                f"Home Assistant did not stop in {LIMIT:g} s."
            ) from None
        if status:
            raise InstanceFailed(
                f"Home Assistant ended with status {status}: {self.last_words()}"
            )

    def kill(self) -> None:
        """End it by SIGKILL, at once and in the midst of whatever it does."""
        process, self._process = self._running(), None
        self._node.stop(process)

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "Home Assistant is not started"
        return self._process

    def _signal(self, name: str) -> None:
        """Send a signal to the process itself, not to what stands for it here."""
        self._running()
        pid = (self.config / _PID_FILE).read_text().strip()
        self._node.run("sh", "-c", f"kill -{name} {pid}")

    def relay(self, listening: socket.socket) -> None:
        """Let those who connect to this socket, of whichever network, in."""
        self._client.relay(listening)

    def api(self, method: str, path: str, json: object = None) -> Any:
        """Send a request such as `GET /api/states`; return the answer's JSON."""
        return self._client.request(method, path, json)

    def command(self, kind: str, **fields: object) -> Any:
        """Send a websocket command such as `config/entity_registry/list`."""
        return self._client.command(kind, **fields)

    def call(self, domain: str, service: str, **data: object) -> None:
        """Call an action, and wait until it is done; raises RequestRefused."""
        self.api("POST", f"/api/services/{domain}/{service}", data)

    def state(self, entity_id: str) -> str | None:
        """Return an entity's state; None where there is no such entity."""
        try:
            return str(self.api("GET", f"/api/states/{entity_id}")["state"])
        except RequestRefused as err:
            if err.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def wait_state(self, entity_id: str, state: str | None) -> None:
        """Wait until an entity has this state; None stands for no such entity."""
        found = None
        for _ in tries():
            if (found := self.state(entity_id)) == state:
                return
        raise InstanceFailed(
            f"{entity_id} is {found} after {LIMIT:g} s, and not {state}."
        )

    def stored_entries(self, text: str) -> str:
        """Return what is on disk of all entries, once this text stands in it.

        Home Assistant writes it a second late.
        """
        path = self.config / ".storage/core.config_entries"
        for _ in tries():
            if path.exists() and text in (stored := path.read_text()):
                return stored
        raise InstanceFailed(f"Home Assistant did not save {text}.")

    def log(self) -> str:
        """Return all it has said since it was installed, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def last_words(self, lines: int = 10) -> str:
        """Return what it has said last."""
        return "\n".join(self.log().strip().splitlines()[-lines:])

    def errors_in_log(self) -> list[str]:
        """Return the warnings and errors that concern us, each with its traceback.

        Others complain of what this machine lacks, such as ffmpeg.
        """
        return [
            record
            for record in self.bad_records()
            if _OURS.search(record) and not _EXPECTED.search(record)
        ]

    def bad_records(self, after: int = 0) -> list[str]:
        """Return all warnings and errors, whoever they concern.

        `after` is how long the log was when those of interest began.
        """
        records = _RECORD.split(self.log()[after:])
        return [record.strip() for record in records if _BAD.match(record)]
