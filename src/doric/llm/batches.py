"""The Batches API of a server: a file of requests is uploaded, answered within a day, and its answers are downloaded.

https://developers.openai.com/api/docs/guides/batch. No call is repeated by itself: a batch that is created twice is
paid twice, so whoever creates one looks first whether it exists.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from doric.core.errors import NotOffered, RetryableError, ServerError, missing_package
from doric.core.files import atomic_writer
from doric.core.settings import NO_KEY, Settings, key_headers
from doric.core.text import printable
from doric.llm import connection
from doric.llm.errors import ErrorResponse, redact
from doric.llm.transport import next_block

if TYPE_CHECKING:
    import httpx2

ENDPOINT = "/v1/chat/completions"
WINDOW = "24h"
ENDED = ("completed", "failed", "expired", "cancelled")
"""The states in which nothing more is answered. Each may have files with answers and with errors."""
LISTED = 100
"""Batches on one page of the list."""
GONE = "http_404"
"""The fault of the error for a batch or a file that is not on the server."""
SOURCE = "OPENAI_BASE_URL or --base-url"
ONE_OF_THEM = re.compile(r"/(batches|files)/[^/]+")
"""The page of one batch or file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the server reports it. Times are seconds since 1970, 0 if not known; `problem` is why it failed."""

    id: str
    status: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    created: int = 0
    expires: int = 0
    output: str = ""
    errors: str = ""
    problem: str = ""


class BatchApi:
    """The pages /files and /batches of a server. All methods raise `ServerError`."""

    def __init__(self, settings: Settings, *, timeout: float = 600.0) -> None:
        try:
            import httpx2
            import openai
        except ImportError as error:
            raise missing_package(error) from error
        self._settings = settings
        self._proxy = connection.proxy_for(settings.address)
        url, _, query = settings.address.partition("?")
        self._http = openai.DefaultAioHttpClient(
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0)), verify=connection.tls_context(),
            proxy=self._proxy.as_httpx(for_aiohttp=True) if self._proxy else None, trust_env=False,
            follow_redirects=False,
        )  # fmt: skip
        key = settings.key or NO_KEY
        self._sdk = openai.AsyncOpenAI(
            api_key=key, base_url=url, default_query=dict(parse_qsl(query)), http_client=self._http, max_retries=0,
            default_headers=key_headers(settings.address, key),
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def find_file(self, name: str, size: int) -> str:
        """The id of an uploaded file with this name and so many bytes; "" if there is none."""
        with self._errors():
            async for file in self._sdk.files.list(purpose="batch"):
                if (file.filename, file.bytes) == (name, size):
                    return self._id(file)
        return ""

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file of requests; its id."""
        with self._errors():
            return self._id(await self._sdk.files.create(file=(name, content), purpose="batch"))

    async def find_batch(self, file: str, marker: Mapping[str, str]) -> Batch | None:
        """The batch of an uploaded file, or whose metadata have the `marker`; None if there is none."""
        with self._errors():
            async for batch in self._sdk.batches.list(limit=LISTED):
                found = batch.metadata or {}
                if batch.input_file_id == file or all(found.get(name) == value for name, value in marker.items()):
                    return self._read(batch)
        return None

    async def create(self, file: str, marker: Mapping[str, str]) -> Batch:
        """Create a batch of the requests in an uploaded file. From now on they are paid for."""
        with self._errors():
            return self._read(
                await self._sdk.batches.create(
                    input_file_id=file, endpoint=ENDPOINT, completion_window=WINDOW, metadata=dict(marker)
                )
            )

    async def retrieve(self, id: str) -> Batch:
        """A batch as it is now."""
        with self._errors():
            found = self._read(await self._sdk.batches.retrieve(id))
        if found.id != id:
            raise self._malformed()
        return found

    async def download(self, file: str, path: Path) -> None:
        """Write the content of a file of the server to `path`, in one step."""
        with self._errors():
            async with self._sdk.files.with_streaming_response.content(file) as response:
                await _save(response.iter_bytes(1 << 20), path)

    def _read(self, batch: Any) -> Batch:  # noqa: ANN401 - the SDK's model, whose fields a server may leave out
        id, status = self._id(batch), batch.status
        if not isinstance(status, str):
            raise self._malformed()
        counts, errors = batch.request_counts, batch.errors.data if batch.errors else None
        said = "; ".join(dict.fromkeys(error.message or error.code or "" for error in errors or ()))
        problem = printable(redact(said, self._settings.key))[:300].removesuffix(".")
        total, completed, failed = (counts.total, counts.completed, counts.failed) if counts else (0, 0, 0)
        return Batch(
            id, printable(status).lower(), _whole(total), _whole(completed), _whole(failed), _whole(batch.created_at),
            _whole(batch.expires_at), batch.output_file_id or "", batch.error_file_id or "", problem,
        )  # fmt: skip

    def _id(self, found: object) -> str:
        """The id of a file or a batch. Raises `RetryableError` if there is none that can be stored."""
        id = getattr(found, "id", None)
        if not isinstance(id, str) or not id or not id.isprintable():
            raise self._malformed()
        return id

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        """In the block, errors of the SDK become a `ServerError`."""
        import openai

        address, settings = self._settings.address, self._settings
        try:
            yield
        except openai.APIStatusError as error:
            raise self._refusal(error.response) from None
        except (openai.APIConnectionError, OSError) as error:
            fault = connection.explain(error, address, self._proxy, source=SOURCE)
            hint = fault.hint or "Run the same command again: nothing is created twice."
            raise RetryableError(f"no answer from {address}: {fault.reason}", fault="connection", hint=hint) from None
        except openai.APIError as error:
            what = printable(redact(str(error), settings.key))[:300]
            raise RetryableError(f"{address}: {what}", fault="malformed") from None
        except (
            ValueError,
            AttributeError,
            TypeError,
            OverflowError,
        ) as error:  # the SDK has read something that is no batch
            raise self._malformed() from error

    def _malformed(self) -> RetryableError:
        message = f"{self._settings.address} does not answer like a Batches API"
        hint = "Run the same command again: nothing is created twice."
        return RetryableError(message, fault="malformed", hint=hint)

    def _refusal(self, response: "httpx2.Response") -> Exception:
        settings = self._settings
        refusal = ErrorResponse.read(response.status_code, response.content, response.headers, key=settings.key)
        if response.status_code == 404 and ONE_OF_THEM.search(response.request.url.path):
            message = f"{settings.address} does not have {response.request.url.path} (404)"
            hint = (
                "Give the key of the project that made the batch. If the batch is gone, set `downloaded` of its part "
                "to true in OUT.batch.json: its requests go into the next round."
            )
            return ServerError(message, fault=GONE, hint=hint)
        if response.status_code in (404, 405, 501) and not refusal.message.lower().startswith("no such"):
            message = f"{settings.address} has no page {response.request.url.path} ({response.status_code})"
            return NotOffered(message, hint="This server has no Batches API. --batch-files makes files for vLLM.")
        return refusal.to_error(
            address=settings.address, model=settings.model, key_variable=settings.key_variable,
            key_given=bool(settings.key),
        )  # fmt: skip


async def _save(blocks: AsyncIterator[bytes], path: Path) -> None:
    with atomic_writer(path) as out:
        while (block := await next_block(blocks)) is not None:
            out.write(block)


def _whole(number: object) -> int:
    return max(0, int(number)) if isinstance(number, int | float) else 0
