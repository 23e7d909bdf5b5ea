"""Batches when flags, files and models change between the commands: no row is lost and nothing is paid twice."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

import generate_doric_dataset as script
import mock_server
from batch_commands import PLAN, lines, rounds, run
from doric.dataset import batch_files, batch_run
from doric.dataset.batch_budget import Limits, for_verdicts
from doric.dataset.batch_state import Part, State
from doric.llm.budget import Budget
from doric.llm.prices import Price
from doric.llm.response import Completion
from mock_batches import BatchServer, by_question, serving

VERDICT = json.dumps({"answers": 5, "correct": 5, "doric": 5})
PRICES = ("--price-in", "1", "--price-out", "5")


@pytest.fixture(autouse=True)
def here(ten_topics, monkeypatch):
    """A folder with ten topics; a batch is listed as soon as it is created."""
    monkeypatch.setattr(batch_run, "SETTLE_SECONDS", 0.0)
    return ten_topics


def refuse_batches(server: BatchServer, status: int = 400) -> None:
    """From now on, the server refuses to create a batch."""
    server.refuses = lambda method, page: (status, "not now") if (method, page) == ("POST", "batches") else None


def accept_all(server: BatchServer) -> None:
    """From now on, the server refuses nothing."""
    server.refuses = lambda method, page: None


def requests_in(server: BatchServer) -> list[int]:
    """The number of requests in each batch."""
    return [batch["request_counts"]["total"] for batch in server.batches.values()]


# ---- a round that was written and not sent


@pytest.mark.parametrize("limit", [("--max-cost", "0.009", *PRICES), ("--max-total-tokens", "9000")])
def test_a_new_budget_counts_for_a_round_that_was_not_sent(limit, capsys):
    """A budget that is given after a refused round limits that round."""
    with serving() as server:
        refuse_batches(server)
        assert run(server.url, "--batch", "submit") == 2
        accept_all(server)
        assert run(server.url, "--batch", "submit", *limit) == 1
        assert 0 < requests_in(server)[0] < PLAN
        assert "Not all of the requests are in this round" in capsys.readouterr().err
        assert run(server.url, "--batch", "collect") == 1
        assert rounds(server.url) == 0
        assert server.paid_twice == 0
    assert len(lines()) == PLAN


def test_a_budget_of_nothing_keeps_a_written_round_at_home(capsys):
    """With a budget that is used up, a round that was written is not sent, and its file is removed."""
    with serving() as server:
        refuse_batches(server)
        run(server.url, "--batch", "submit")
        accept_all(server)
        assert run(server.url, "--batch", "submit", "--max-total-tokens", "0") == 1
        assert server.batches == {}
        assert "None of the requests are in this round" in capsys.readouterr().err
        assert list(Path("out.jsonl.batch").iterdir()) == []
        assert rounds(server.url) == 0


@pytest.mark.parametrize("limit", [("--max-total-tokens", "0"), ("--max-cost", "0.00001", *PRICES)])
def test_a_budget_without_room_pays_for_no_short_call(limit):
    """The call that tries the model before a round is not made if the budget has no room for it."""
    with serving() as server:
        assert run(server.url, "--batch", "submit", *limit) == 1
        assert server.probes == []
        assert server.batches == {}


def test_a_complete_dataset_pays_for_no_short_call():
    """If nothing is left to ask, the model is not tried."""
    with serving() as server:
        assert rounds(server.url) == 0
        before = len(server.probes)
        assert run(server.url, "--batch", "submit") == 0
        assert len(server.probes) == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.rejected.jsonl"])
def test_a_damaged_file_pays_for_no_short_call(name, capsys):
    """A line that is no row is found before the model is tried."""
    with serving(by_question(refused=5)) as server:
        for command in ("submit", "collect"):
            assert run(server.url, "--batch", command) == 1
        before = len(server.probes)
        Path(name).write_text("{\n" + Path(name).read_text("utf-8"), "utf-8")
        assert run(server.url, "--batch", "submit") == 2
        assert len(server.probes) == before
    assert f"{name}:1" in capsys.readouterr().err


def test_check_is_refused_for_batches(capsys):
    """--check looks at a live run only, so it says nothing of batches."""
    with serving() as server:
        assert run(server.url, "--batch", "submit", "--check") == 2
        assert "--check is not for batches" in capsys.readouterr().err
        assert server.probes == []


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (("--temperature", "0.25"), {"temperature": 0.25}),
        (("--extra-body", '{"top_p": 0.5}'), {"top_p": 0.5}),
        (("--model", "another"), {"model": "another"}),
    ],
)
def test_other_flags_count_for_a_round_that_was_not_sent(flags, asked):
    """Each flag of the last command is in the requests, though a round without it was written before."""
    with serving() as server:
        refuse_batches(server)
        assert run(server.url, "--batch", "submit") == 2
        accept_all(server)
        assert run(server.url, "--batch", "submit", *flags) == 1
        assert run(server.url, "--batch", "collect", *flags) == 0
        assert all(body.items() >= asked.items() for body in server.bodies)
    assert {row["meta"]["model"] for row in lines()} == {asked.get("model", "mock-doric")}


def test_another_plan_may_follow_a_round_that_was_not_sent():
    """Nothing was asked, so topics, rows, server and --overwrite may be others than in the refused command."""
    with serving() as first, serving() as second:
        refuse_batches(first)
        assert run(first.url, "--batch", "submit") == 2
        Path("topics.txt").write_text("Mending a gate\nFeeding hens\n", "utf-8")
        more = ("--n-per-topic", "2", "--overwrite")
        assert run(second.url, "--batch", "submit", *more) == 1
        assert requests_in(second) == [4]
        assert run(second.url, "--batch", "collect", "--n-per-topic", "2") == 0
    assert len(lines()) == 4


def test_an_unchanged_round_is_uploaded_once(monkeypatch):
    """A round that is written anew with the same content uses the file that is on the server."""
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 5)
    with serving() as server:
        refuse_batches(server, 503)
        for _ in range(3):
            assert run(server.url, "--batch", "submit") == 2
        accept_all(server)
        assert run(server.url, "--batch", "submit") == 1
        names = [name for name, _ in server.files.values() if name.startswith("doric-")]
        assert (len(names), requests_in(server)) == (2, [5, 5])


def test_the_rest_of_a_round_counts_what_is_in_flight(monkeypatch, capsys):
    """If a second batch was refused, a new budget counts the open first one, whose requests are not sent again."""
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 4)
    with serving() as server:
        server.refuses = lambda method, page: (
            (400, "not now") if (method, page) == ("POST", "batches") and server.batches else None
        )
        assert run(server.url, "--batch", "submit") == 2
        assert run(server.url, "--batch", "submit", *PRICES, "--max-cost", "0.01") == 1
        assert requests_in(server) == [4]
        accept_all(server)
        assert run(server.url, "--batch", "collect") == 1
        assert rounds(server.url) == 0
        assert (requests_in(server), server.paid_twice) == ([4, 4, 2], 0)
    assert "None of the requests are in this round" in capsys.readouterr().err
    assert len(lines()) == PLAN


def test_the_rest_of_a_round_may_follow_while_the_first_batch_runs(monkeypatch):
    """If a second batch was refused, the same command sends the rest, and the open batch is not asked again."""
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 4)
    with serving() as server:
        server.refuses = lambda method, page: (
            (400, "not now") if (method, page) == ("POST", "batches") and server.batches else None
        )
        assert run(server.url, "--batch", "submit") == 2
        accept_all(server)
        assert run(server.url, "--batch", "submit") == 1
        assert requests_in(server) == [4, 4, 2]
        assert run(server.url, "--batch", "collect") == 0
        assert server.paid_twice == 0
    assert len(lines()) == PLAN


def test_a_live_run_may_follow_a_refused_round(capsys):
    """After the server has refused a batch, a live run writes the rows, and nothing is left to submit."""
    with serving() as server, mock_server.serving() as live:
        refuse_batches(server)
        assert run(server.url, "--batch", "submit") == 2
        assert run(server.url, "--batch", "collect") == 1
        assert "10 rows need another round: --batch submit" in capsys.readouterr().err
        assert run(live.url) == 0
        accept_all(server)
        assert run(server.url, "--batch", "submit") == 0
        assert server.batches == {}


def test_a_creation_that_was_not_confirmed_is_looked_up(capsys):
    """If no answer came, the batch may exist: a live run is refused, and submit finds the batch."""
    with serving() as server, mock_server.serving() as live:
        shown = server.page

        def page(method, path, content):
            answer = shown(method, path, content)
            return (502, b"{}") if (method, path) == ("POST", "/v1/batches") else answer

        server.page = page
        assert run(server.url, "--batch", "submit") == 2
        assert run(live.url) == 2
        assert "may be in a batch, whose creation was not confirmed" in capsys.readouterr().err
        assert run(server.url, "--batch", "submit", "--model", "another") == 2
        assert "ask mock-doric, and not another" in capsys.readouterr().err
        assert run(server.url, "--batch", "submit") == 2
        assert "10 requests of round 1 are not collected yet" in capsys.readouterr().err
        assert run(server.url, "--batch", "collect") == 0
        assert (len(server.batches), server.paid_twice, live.stats.requests) == (1, 0, 0)


# ---- another model


def test_answers_of_an_earlier_model_are_not_taken_over(capsys):
    """First answers of chats stay with their model: another one begins these chats anew, if that is allowed."""
    turns = ("--turns", "4")
    with serving() as server:
        run(server.url, "--batch", "submit", *turns)
        assert run(server.url, "--batch", "collect", *turns) == 1
        other = (*turns, "--model", "another")
        assert run(server.url, "--batch", "submit", *other) == 2
        assert "with answers of mock-doric 10" in capsys.readouterr().err
        assert run(server.url, "--batch", "collect", *other) == 1
        assert lines() == []
        assert rounds(server.url, *other, "--allow-model-change") == 0
        asked = map(json.loads, server.paid)
        first = [
            one["body"]["model"] for one in asked if one["custom_id"].endswith("#1") and ":" not in one["custom_id"]
        ]
        assert sorted(first) == ["another"] * PLAN + ["mock-doric"] * PLAN
        assert server.paid_twice == 0
    assert {row["meta"]["model"] for row in lines()} == {"another"}


# ---- what verdicts cost


def test_verdicts_of_earlier_commands_count(capsys):
    """The total that is shown, and that budgets are compared with, has the verdicts of all commands."""
    answer = by_question(refused=4)
    with serving(answer) as server, mock_server.serving(answer=lambda call: VERDICT) as judge:
        more = ("--judge-model", "judge", "--judge-base-url", judge.url, *PRICES)
        more += ("--judge-price-in", "100", "--judge-price-out", "100")
        run(server.url, "--batch", "submit", *more)
        run(server.url, "--batch", "collect", *more)
        cost = State.load(Path("out.jsonl")).verdicts.spent
        assert cost > 0.1
        assert run(server.url, "--batch", "submit", *more, "--max-cost", f"{cost:.4f}") == 1
        assert "None of the requests are in this round" in capsys.readouterr().err
        run(server.url, "--batch", "submit", *more)
        run(server.url, "--batch", "collect", *more)
        assert f"{judge.stats.requests} verdicts" in capsys.readouterr().err
        assert State.load(Path("out.jsonl")).verdicts.calls == judge.stats.requests
        capsys.readouterr()
        without = ("--batch", "collect", *PRICES)
        assert run(server.url, *without) == 0
        told = capsys.readouterr().err
        assert f"{judge.stats.requests} verdicts of earlier commands" in told
        assert "together:  $" in told


def test_verdicts_of_a_command_that_failed_count(capsys, monkeypatch):
    """The verdicts before a fatal error of the judge are on disk and shown."""
    monkeypatch.setattr(batch_run, "NOTED", 2)
    answered = itertools.count()
    with serving() as server, mock_server.serving(answer=lambda _: VERDICT if next(answered) < 4 else "no") as judge:
        more = ("--judge-model", "judge", "--judge-base-url", judge.url)
        run(server.url, "--batch", "submit", *more)
        assert run(server.url, "--batch", "collect", *more, "--max-rejected", "2") in (1, 2)
    assert State.load(Path("out.jsonl")).verdicts.calls == judge.stats.requests > 3
    assert f"{judge.stats.requests} verdicts" in capsys.readouterr().err


def test_answers_in_batches_use_no_tokens_of_a_rate_limit():
    """Reading an answer costs nothing more, and the tokens of all answers count against the limits."""
    state = State(parts=[Part(round=1, number=1, requests=2, size=1, tokens_in=600, tokens_out=100)])
    budget = for_verdicts(state, Price(1.0, 1.0, "test"), Budget(), Limits(tokens=700))
    assert budget.book(Completion("Aye.", tokens_in=300, tokens_out=50)) == 0
    assert budget.tokens == 700
    assert budget.exhausted()


def test_a_price_that_earlier_verdicts_lack_is_asked_for(capsys):
    """--max-cost needs the price of verdicts whose price was not known."""
    with serving() as server, mock_server.serving(answer=lambda call: VERDICT) as judge:
        run(server.url, "--batch", "submit")
        more = ("--judge-model", "judge", "--judge-base-url", judge.url)
        run(server.url, "--batch", "collect", *more)
        limit = ("--batch", "submit", *PRICES, "--max-cost", "9")
        assert run(server.url, *limit) == 2
        assert "tokens that a judge has used in earlier rounds" in capsys.readouterr().err
        assert run(server.url, *limit, "--judge-price-in", "1", "--judge-price-out", "2") == 0


# ---- files that are gone or damaged


@pytest.mark.parametrize("turns", ["2", "4"])
@pytest.mark.parametrize("gone", ["input", "output"])
def test_a_file_of_a_batch_that_is_gone_is_got_again(turns, gone, capsys):
    """Requests and answers that were deleted on disk come from the server, and nothing is asked twice."""
    with serving() as server:
        for _ in range(8):
            run(server.url, "--batch", "submit", "--turns", turns)
            for path in Path("out.jsonl.batch").glob(f"*.{gone}.jsonl"):
                path.unlink()
            if run(server.url, "--batch", "collect", "--turns", turns) == 0:
                break
        assert server.paid_twice == 0
    assert "Traceback" not in capsys.readouterr().err
    assert len(lines()) == PLAN


@pytest.mark.parametrize(("end", "rows"), [("completed", PLAN), ("expired", PLAN // 2)])
def test_answers_that_were_downloaded_and_deleted_are_got_again(end, rows):
    """Between two tries of collect, the answers may be deleted on disk, also if the errors are there."""
    with serving(ends=(end,)) as server, mock_server.serving(answer=lambda call: VERDICT) as judge:
        more = ("--judge-model", "judge", "--judge-base-url", judge.url)
        run(server.url, "--batch", "submit", *more)
        assert run(server.url, "--batch", "collect", *more, "--max-total-tokens", "1500") == 1
        Path("out.jsonl.batch/round-1-part-1.output.jsonl").unlink()
        run(server.url, "--batch", "collect", *more)
        assert (len(lines()), len(server.batches)) == (rows, 1)


def test_rows_that_are_gone_are_made_from_the_answers_again(capsys):
    """If the output was moved away, submit pays for nothing, and collect reads all answers again."""
    with serving(by_question(refused=3)) as server:
        run(server.url, "--batch", "submit")
        run(server.url, "--batch", "collect")
        rows = lines()
        Path("out.jsonl").rename("elsewhere.jsonl")
        assert run(server.url, "--batch", "submit") == 2
        assert f"had {len(rows)} rows and has none now" in capsys.readouterr().err
        assert run(server.url, "--batch", "collect") == 1
        assert lines() == rows
        assert rounds(server.url) == 0
        assert server.paid_twice == 0


def test_the_files_of_a_complete_dataset_are_not_needed():
    """When all rows are there, OUT.batch may be removed, also for chats of more turns."""
    with serving() as server:
        assert rounds(server.url, "--turns", "4") == 0
        shutil.rmtree("out.jsonl.batch")
        for command in ("submit", "collect"):
            assert run(server.url, "--turns", "4", "--batch", command) == 0
        assert not Path("out.jsonl.batch").exists()


def test_an_output_that_was_moved_with_its_files_goes_on():
    """All files of an output may be moved to another folder and name."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        Path("there").mkdir()
        for path in Path().glob("out.jsonl*"):
            path.rename(Path("there") / path.name.replace("out", "new"))
        assert run(server.url, "--batch", "collect", "--out", "there/new.jsonl") == 0
    assert len(lines("there/new.jsonl")) == PLAN


def test_requests_without_their_state_are_not_sent_again(capsys):
    """If OUT.batch.json is gone, the batches may be open: submit and --overwrite are refused in one line."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        Path("out.jsonl.batch.json").unlink()
        for more in ((), ("--overwrite",)):
            assert run(server.url, "--batch", "submit", *more) == 2
            assert "out.jsonl.batch.json is missing" in capsys.readouterr().err
        for command in ("status", "collect"):
            assert run(server.url, "--batch", command) == 2
        assert len(server.batches) == 1


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"run": "x"}', '{"version": 2, "run": "x", "parts": []}'])
@pytest.mark.parametrize("command", ["submit", "status", "collect"])
def test_a_damaged_state_is_one_line(content, command, capsys):
    """A state that is cut or of another kind is named, and no batch is created."""
    Path("out.jsonl.batch.json").write_text(content, "utf-8")
    with serving() as server:
        assert run(server.url, "--batch", command) == 2
        assert server.batches == {}
    told = capsys.readouterr().err
    assert "out.jsonl.batch.json" in told
    assert "not the state of batches" in told


# ---- what servers say


def test_a_batch_that_is_gone_keeps_no_other_back(monkeypatch, capsys, caplog):
    """The answers of the other batches are collected; status shows all."""
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 5)
    with serving() as server:
        run(server.url, "--batch", "submit")
        server.refuses = lambda method, page: (404, "No batch found") if page == "batches/batch_1" else None
        assert run(server.url, "--batch", "status") == 1
        assert run(server.url, "--batch", "collect") == 1
        assert "batch_1 not found, 0 of 5 answered" in capsys.readouterr().out
        assert "does not have /v1/batches/batch_1 (404)" in caplog.text
        assert len(lines()) == 5
        accept_all(server)
        assert run(server.url, "--batch", "collect") == 0
        assert server.paid_twice == 0


@pytest.mark.parametrize("moment", [1_790_000_000_000, -1, 10**30, 1e400])
@pytest.mark.parametrize("status", ["in_progress", "cancelling", "finalizing"])
def test_times_that_are_none_are_no_error(moment, status, capsys):
    """A server may count in milliseconds or have another clock, and a batch that ends is waited for."""
    with serving(ends=("in_progress",)) as server:
        run(server.url, "--batch", "submit")
        server.batches["batch_1"] |= {"created_at": moment, "expires_at": moment, "status": status}
        assert run(server.url, "--batch", "status") in (1, 2)
        assert run(server.url, "--batch", "collect") in (1, 2)
        assert run(server.url, "--batch", "submit") == 2
        assert len(server.batches) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "batch_2"},
        {"id": ""},
        {"id": "\ud800"},
        {"status": "\ud800"},
        {"status": 7},
        {"output_file_id": None},
        {"request_counts": "all"},
    ],
)
def test_an_odd_batch_is_waited_for(fields, capsys):
    """A batch with another id, without a file for its answers or with broken text is not sent again."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        batch = dict(server.batches["batch_1"])
        server.batches["batch_1"] |= fields
        assert run(server.url, "--batch", "collect") in (1, 2)
        assert run(server.url, "--batch", "submit") == 2
        server.batches["batch_1"] = batch
        assert run(server.url, "--batch", "collect") == 0
        assert (len(server.batches), server.paid_twice) == (1, 0)
    assert "Traceback" not in capsys.readouterr().err


def test_the_case_of_a_status_does_not_matter():
    """Some servers write COMPLETED."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        server.batches["batch_1"]["status"] = "COMPLETED"
        assert run(server.url, "--batch", "collect") == 0


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -(10**9), "completion_tokens": -1}, {"prompt_tokens": "9"}]
)
def test_tokens_that_are_not_counted_are_estimated(usage, capsys):
    """A budget also ends the rounds of a server that does not count tokens, or counts them wrongly."""

    def edit(found):
        for one in found:
            one["response"]["body"]["usage"] = usage
        return found

    with serving(by_question(refused=PLAN), edit=edit) as server:
        run(server.url, "--batch", "submit")
        assert run(server.url, "--batch", "collect") == 1
        assert "spent:     about 2" in capsys.readouterr().err
        assert run(server.url, "--batch", "submit", "--max-total-tokens", "20000") == 1
        assert len(server.batches) == 1


def test_reasons_of_a_server_control_no_terminal(capsys):
    """Escape sequences and line breaks in a server's words are not printed."""

    def edit(found):
        return [{**found[0], "response": None, "error": "no\x1b[31m\n\rpower"}, *found[1:]]

    with serving(edit=edit) as server:
        run(server.url, "--batch", "submit")
        run(server.url, "--batch", "collect")
    assert "answered 9, failed 1 (no power 1)" in capsys.readouterr().err


def test_an_answer_after_an_error_is_used(capsys):
    """If a request has a line with an error and one with an answer, the order does not matter."""

    def edit(found):
        lost = [{**one, "response": None, "error": {"code": "server_error", "message": "busy"}} for one in found[:3]]
        return [*lost, *found, *found[:2]]

    with serving(edit=edit) as server:
        run(server.url, "--batch", "submit")
        assert run(server.url, "--batch", "collect") == 0
        assert "answered 10, repeated 2" in capsys.readouterr().err


def test_the_forecast_of_a_round_is_readable(capsys):
    """Tokens and cost are apart."""
    with serving() as server:
        run(server.url, "--batch", "submit", *PRICES)
    assert " out, about $" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["submit", "collect"])
def test_without_a_key_the_provider_is_not_asked(command, monkeypatch, capsys):
    """Without a key and a base URL, the error is one line."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    flags = ("--topics", "topics.txt", "--out", "out.jsonl", "--model", "gpt-x", "--batch", command)
    assert script.main([*flags]) == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err
    assert not list(Path().glob("out.jsonl*"))
