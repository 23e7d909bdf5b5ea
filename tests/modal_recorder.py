"""A fake of Modal's API for one deployment. It accepts `modal deploy` and records the requests.

The service is built from the protocol definition in the installed SDK, so it changes with the SDK.
"""

import asyncio
import contextlib
import re
import shlex
import socket
import subprocess
import sys
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.server import Server, Stream
from modal_proto import api_grpc, api_pb2

DONE = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)


@dataclass
class Recorder:
    """Records the SDK's requests. `secrets` maps the names of the existing Secrets to their variables."""

    secrets: dict[str, set[str]]
    url: str
    requests: list[Message] = field(default_factory=list)
    apps: dict[str, int] = field(default_factory=dict)
    """The state of each app on the list of apps."""
    failures: int = 0
    """The containers that have failed."""
    log: str = ""
    """What the containers have written."""
    folders: dict[str, list[str]] = field(default_factory=dict)
    """The folders of every Volume, with their files."""

    def __mapping__(self) -> dict[str, Handler]:
        """The whole service. A method that is not in ANSWERS returns an empty response."""
        service = type("Service", (api_grpc.ModalClientBase,), {})
        service.__abstractmethods__ = frozenset()
        known: dict[str, Handler] = service().__mapping__()  # ty: ignore[abstract-class-instantiation]
        return {path: Handler(self._handle(path, old.reply_type), *old[1:]) for path, old in known.items()}

    def _handle(self, path: str, reply: type[Message]) -> Callable[[Stream], Any]:
        answer = ANSWERS.get(path.rsplit("/")[-1], lambda recorder, request: reply())

        async def handle(stream: Stream) -> None:
            request = await stream.recv_message()
            assert request
            self.requests.append(request)
            await stream.send_message(answer(self, request))

        return handle

    def sent(self, kind: type[Message]) -> list[Any]:
        """All requests of one type, in order."""
        return [request for request in self.requests if isinstance(request, kind)]

    @property
    def function(self) -> Any:
        """The definition of the only function of the app."""
        (created,) = self.sent(api_pb2.FunctionCreateRequest)
        if created.HasField("function_data"):
            return created.function_data.ranked_functions[0].function
        return created.function

    @property
    def image_env(self) -> dict[str, str]:
        """The environment variables that the image sets."""
        builds = self.sent(api_pb2.ImageGetOrCreateRequest)
        lines = [re.match(r"ENV (\w+)=(.*)", line) for build in builds for line in build.image.dockerfile_commands]
        return {line[1]: "".join(shlex.split(line[2])) for line in lines if line}


def _token(recorder: Recorder, request: Message) -> Message:
    parts = [urlsafe_b64encode(part).decode() for part in (b"{}", b'{"exp": 9999999999}')]
    return api_pb2.AuthTokenGetResponse(token=".".join([*parts, "x"]))


def _environment(recorder: Recorder, request: Message) -> Message:
    settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06")
    metadata = api_pb2.EnvironmentMetadata(name="main", settings=settings)
    return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)


def _secret(recorder: Recorder, request: api_pb2.SecretGetOrCreateRequest) -> Message:
    if request.deployment_name not in recorder.secrets:
        raise GRPCError(Status.NOT_FOUND, f"Secret '{request.deployment_name}' not found in environment 'main'.")
    if missing := set(request.required_keys) - recorder.secrets[request.deployment_name]:
        raise GRPCError(Status.NOT_FOUND, f"Secret is missing key(s): {sorted(missing)}")
    return api_pb2.SecretGetOrCreateResponse(secret_id="st-1")


def _function(recorder: Recorder, request: api_pb2.FunctionCreateRequest) -> Message:
    reply = api_pb2.FunctionCreateResponse(function_id="fu-1")
    reply.function_data.ranked_functions.add().function.CopyFrom(recorder.function)
    reply.handle_metadata.function_name = recorder.function.function_name
    reply.handle_metadata.web_url = reply.function_data.web_url = "https://acme--serve.modal.invalid"
    return reply


def _app_list(recorder: Recorder, request: Message) -> Message:
    apps = recorder.apps.items()
    return api_pb2.AppListResponse(
        apps=[
            api_pb2.AppListResponse.AppListItem(app_id=f"ap-{name}", description=name, state=state)
            for name, state in apps
        ]
    )


def _app_by_name(recorder: Recorder, request: api_pb2.AppGetByDeploymentNameRequest) -> Message:
    if request.name not in recorder.apps:
        return api_pb2.AppGetByDeploymentNameResponse()
    lifecycle = api_pb2.AppLifecycle(app_state=recorder.apps[request.name])
    return api_pb2.AppGetByDeploymentNameResponse(app_id=f"ap-{request.name}", lifecycle=lifecycle)


def _app_stop(recorder: Recorder, request: api_pb2.AppStopRequest) -> Message:
    recorder.apps[request.app_id.removeprefix("ap-")] = api_pb2.APP_STATE_STOPPED
    return Empty()


def _stats(recorder: Recorder, request: Message) -> Message:
    reply = api_pb2.AppGetTimeRangeStatsResponse()
    reply.servers.total.containers.container_errors = recorder.failures
    return reply


def _logs(recorder: Recorder, request: Message) -> Message:
    items = [api_pb2.TaskLogs(data=recorder.log)] if recorder.log else []
    return api_pb2.AppFetchLogsResponse(batches=[api_pb2.TaskLogsBatch(items=items)])


def _files(recorder: Recorder, request: Any) -> Message:
    name = request.path.strip("/")
    if name not in recorder.folders:
        raise GRPCError(Status.NOT_FOUND, "No such file or directory")
    return api_pb2.VolumeListFiles2Response(
        entries=[api_pb2.FileEntry(path=f"{name}/{file}") for file in recorder.folders[name]]
    )


def _files_1(recorder: Recorder, request: Any) -> Message:
    return api_pb2.VolumeListFilesResponse(entries=_files(recorder, request).entries)  # ty: ignore[unresolved-attribute]


ANSWERS: dict[str, Callable[[Recorder, Any], Message]] = {
    "AuthTokenGet": _token,
    "EnvironmentGetOrCreate": _environment,
    "SecretGetOrCreate": _secret,
    "FunctionCreate": _function,
    "FunctionPrecreate": lambda recorder, request: api_pb2.FunctionPrecreateResponse(function_id="fu-1"),
    "AppGetByDeploymentName": _app_by_name,
    "AppList": _app_list,
    "AppStop": _app_stop,
    "AppGetTimeRangeStats": _stats,
    "AppFetchLogs": _logs,
    "VolumeListFiles": _files_1,
    "VolumeListFiles2": _files,
    "AppCreate": lambda recorder, request: api_pb2.AppCreateResponse(app_id="ap-1"),
    "AppPublish": lambda recorder, request: api_pb2.AppPublishResponse(url="https://modal.invalid/app"),
    "MountPutFile": lambda recorder, request: api_pb2.MountPutFileResponse(exists=True),
    "MountGetOrCreate": lambda recorder, request: api_pb2.MountGetOrCreateResponse(mount_id="mo-1"),
    "VolumeGetOrCreate": lambda recorder, request: api_pb2.VolumeGetOrCreateResponse(
        volume_id=f"vo-{request.deployment_name}", version=request.version
    ),
    "ImageGetOrCreate": lambda recorder, request: api_pb2.ImageGetOrCreateResponse(image_id="im-1", result=DONE),
}


@contextlib.contextmanager
def recording(secrets: dict[str, set[str]]) -> Generator[Recorder]:
    """Run a recorder in its own thread, on a loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    recorder = Recorder(secrets, f"http://127.0.0.1:{listener.getsockname()[1]}")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Server:
        server = Server([recorder])
        await server.start(sock=listener)
        return server

    async def stop(server: Server) -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield recorder
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def account(recorder: Recorder, folder: Path) -> dict[str, str]:
    """The variables with which Modal's command talks to the recorder, and to nothing else."""
    return {
        "MODAL_SERVER_URL": recorder.url,
        "MODAL_TOKEN_ID": "ak-test",
        "MODAL_TOKEN_SECRET": "as-test",
        "MODAL_CONFIG_PATH": str(folder / "no-such.toml"),
        "COLUMNS": "200",
    }


def deploy(app: Path, recorder: Recorder, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `modal deploy` in the app's folder with only these variables. The stdout of the result includes stderr."""
    given = account(recorder, app.parent) | env
    return subprocess.run(
        [sys.executable, "-m", "modal", "deploy", app.name],
        cwd=app.parent,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
