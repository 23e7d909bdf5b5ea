"""The dataset generator over the Batches API: nothing is paid twice, and the rows are those of a live run."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import generate_doric_dataset as script
import mock_server
from batch_commands import PLAN, lines, rounds, run
from doric.core import files
from doric.core.journal import Journal
from doric.dataset import batch_files, batch_run, batch_state
from doric.llm.batches import BatchApi
from mock_batches import by_question, completion, line, serving


@pytest.fixture(autouse=True)
def here(ten_topics, monkeypatch):
    """A folder with ten topics; a batch is listed as soon as it is created."""
    monkeypatch.setattr(batch_run, "SETTLE_SECONDS", 0.0)
    return ten_topics


# ---- the same as a live run


def test_rounds_give_the_rows_and_the_rejections_of_a_live_run(capsys):
    """Refused answers are asked for again in the next round, with the messages and the reasons of the live run."""
    answer = by_question(refused=5)
    with mock_server.serving(answer=lambda call: answer(call.body)) as live:
        assert run(live.url) == 0
    rows, rejections = lines(), lines("out.jsonl.rejected.jsonl")
    for name in Path().glob("out.jsonl*"):
        name.unlink()
    with serving(answer) as server:
        assert rounds(server.url) == 0
    assert len(rows) == PLAN
    assert len(rejections) == 3
    assert (lines(), lines("out.jsonl.rejected.jsonl")) == (rows, rejections)
    sent = [{name: value for name, value in call.body.items() if name != "stream"} for call in live.calls]
    assert sorted(map(json.dumps, server.bodies)) == sorted(map(json.dumps, sent))
    told = capsys.readouterr().err
    assert "10 requests: answered 10" in told
    assert "3 rows need another round: --batch submit" in told


def test_follow_ups_are_asked_in_later_rounds():
    """A chat of four turns takes two rounds more than one of two, and no answer is asked for twice."""
    with serving() as server:
        assert rounds(server.url, "--turns", "2-4") == 0
        assert server.paid_twice == 0
        assert len(server.batches) >= 3
    assert {len(row["messages"]) for row in lines()} == {2, 4, 6}


def test_a_judge_scores_the_answers_when_they_are_collected():
    """With --judge-model the collected answers are judged by live calls."""
    verdict = json.dumps({"answers": 5, "correct": 5, "doric": 5})
    with serving() as server, mock_server.serving(answer=lambda call: verdict) as judge:
        more = ("--judge-model", "judge", "--judge-base-url", judge.url)
        run(server.url, "--batch", "submit", *more)
        assert judge.stats.requests == 0
        run(server.url, "--batch", "collect", *more)
        assert judge.stats.requests >= PLAN


def test_a_budget_ends_the_verdicts_and_loses_no_answer(capsys):
    """--max-total-tokens counts verdicts in collect, too; a second collect judges the other answers, paid for once."""
    verdict = json.dumps({"answers": 5, "correct": 5, "doric": 5})
    with serving() as server, mock_server.serving(answer=lambda call: verdict) as judge:
        more = ("--judge-model", "judge", "--judge-base-url", judge.url)
        run(server.url, "--batch", "submit", *more)
        assert run(server.url, "--batch", "collect", *more, "--max-total-tokens", "1500") == 1
        assert judge.stats.requests < PLAN
        assert "--batch collect again: the budget ended first" in capsys.readouterr().err
        assert run(server.url, "--batch", "collect", *more) == 0
        assert server.paid_twice == 0
    assert len(lines()) == PLAN


# ---- killed at every step


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process at step `at`: before and after each call to the server and each change of a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.steps = -1, 0
        for name in ("find_file", "upload", "find_batch", "create", "retrieve", "download"):
            monkeypatch.setattr(BatchApi, name, self.around_async(getattr(BatchApi, name)))
        monkeypatch.setattr(batch_state.State, "save", self.around(batch_state.State.save))
        monkeypatch.setattr(batch_files.RequestFile, "write", self.around(batch_files.RequestFile.write))
        monkeypatch.setattr(Journal, "write", self.around(Journal.write))

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Killed

    def around(self, function):
        def wrapped(*args, **kwargs):
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        return wrapped

    def around_async(self, function):
        async def wrapped(*args, **kwargs):
            self.step()
            result = await function(*args, **kwargs)
            self.step()
            return result

        return wrapped


def commands_until_done(url: str, killer: Killer, stride: int) -> int:
    """Submit and collect twice. Try n of a command is killed at its step n * stride. Returns how often that was."""
    kills, status = 0, 1
    for command in ("submit", "collect", "submit", "collect"):
        for attempt in itertools.count(1):
            killer.at, killer.steps = attempt * stride or -1, 0
            try:
                status = run(url, "--batch", command)
                break
            except Killed:
                kills += 1
    assert status == 0
    return kills


def test_killed_again_and_again_nothing_is_paid_twice(monkeypatch, tmp_path):
    """Each command is killed at its first step, then at its second and so on: the rows are the same and paid once."""
    monkeypatch.setattr("doric.lint.files.refuse_broken_data", lambda: None)  # it takes half of the time
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 3)  # two batches in the first round
    topics = Path("topics.txt").read_text("utf-8").splitlines()[:4]
    killer, answer, results = Killer(monkeypatch), by_question(refused=2), []
    for stride in (0, 1, 3):
        folder = tmp_path / str(stride)
        folder.mkdir()
        (folder / "topics.txt").write_text("\n".join(topics), "utf-8")
        monkeypatch.chdir(folder)
        with serving(answer) as server:
            kills = commands_until_done(server.url, killer, stride)
            names = [name for name, _ in server.files.values() if name.startswith("doric-")]
            assert (server.paid_twice, len(server.batches), len(names), len({*names})) == (0, 3, 3, 3)
        assert kills > 10 or not stride
        results.append((lines(), lines("out.jsonl.rejected.jsonl")))
    assert results[1:] == results[:1] * 2


def test_answers_collected_again_change_nothing():
    """A collect after the last one writes nothing and asks for nothing."""
    with serving() as server:
        assert rounds(server.url) == 0
        rows, answered = Path("out.jsonl").read_bytes(), len(server.bodies)
        assert run(server.url, "--batch", "collect") == 0
        assert run(server.url, "--batch", "submit") == 0
        assert (Path("out.jsonl").read_bytes(), len(server.bodies)) == (rows, answered)


# ---- batches that end early, and bad lines


@pytest.mark.parametrize(
    ("end", "found", "rows"),
    [
        ("expired", "answered 5, failed 5 (batch_expired 5)", 5),
        ("cancelled", "answered 5, failed 5 (batch_expired 5)", 5),
        ("failed", "missing 10; line 1 is bad", 0),
    ],
)
def test_what_a_batch_has_answered_is_used(end, found, rows, capsys):
    """The rest of an expired, cancelled or failed batch goes into the next round."""
    with serving(ends=(end,)) as server:
        run(server.url, "--batch", "submit")
        assert run(server.url, "--batch", "collect") == 1
        assert len(lines()) == rows
        assert f"{end}, {PLAN} requests: {found}" in capsys.readouterr().err
        assert rounds(server.url) == 0
        assert server.paid_twice == 0
    assert len(lines()) == PLAN


def test_bad_lines_are_counted_and_their_rows_asked_for_again(capsys):
    """Errors, cut and filtered answers, missing, unknown and repeated ids and a cut last line lose no other answer."""

    def edit(found):
        if len(found) < PLAN:
            return found
        cut, filtered = (found[at]["response"]["body"]["choices"][0] for at in (0, 1))
        cut["finish_reason"], cut["message"]["content"] = "length", "Weel, ye"
        filtered["finish_reason"], filtered["message"]["content"] = "content_filter", ""
        found[2] = line(found[2]["custom_id"], {"error": {"message": "The server had an error"}}, 500)
        return [*found[:3], *found[4:], found[5], line("nobody#1", completion({"model": "m"}, "Aye."))]

    with serving(edit=edit) as server:
        run(server.url, "--batch", "submit")
        name = next(name for name, (file, _) in server.files.items() if file == "out")
        server.files[name] = ("out", server.files[name][1] + b'{"id": "r", "custom_id": "cut')
        assert run(server.url, "--batch", "collect") == 1
        told = capsys.readouterr().err
        assert "answered 9, cut off 1, missing 1, repeated 1, unknown 1 (status 500 1)" in told
        assert len(lines()) == PLAN - 4
        assert {row["gate"] for row in lines("out.jsonl.rejected.jsonl")} == {"cut_off", "filtered"}
        assert rounds(server.url) == 0


def test_a_batch_that_runs_is_waited_for(capsys):
    """Nothing is asked for again while a batch runs, and status says what to do."""
    with serving(ends=("in_progress",)) as server:
        run(server.url, "--batch", "submit")
        assert run(server.url, "--batch", "collect") == 1
        assert "10 requests are not answered yet" in capsys.readouterr().err
        assert run(server.url, "--batch", "submit") == 2
        assert "--batch collect" in capsys.readouterr().err
        assert run(server.url, "--batch", "status") == 1
        told = capsys.readouterr().out
        assert "batch_1 in_progress, 0 of 10 answered, 0 failed" in told
        assert "next: wait" in told
        assert len(server.batches) == 1


# ---- limits, refusals, other runs


def test_a_round_is_cut_at_the_limits_of_a_file(monkeypatch):
    """More requests than fit into a file, or more bytes, go into several batches."""
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 4)
    with serving() as server:
        run(server.url, "--batch", "submit")
        assert [batch["request_counts"]["total"] for batch in server.batches.values()] == [4, 4, 2]
        assert run(server.url, "--batch", "collect") in (0, 1)
    largest = max(len(one) for one in Path("out.jsonl.batch/round-1-part-1.input.jsonl").read_bytes().splitlines())
    monkeypatch.setattr(batch_files, "MOST_BYTES", 2 * largest + 10)
    Path("other").mkdir()
    Path("other/topics.txt").write_bytes(Path("topics.txt").read_bytes())
    monkeypatch.chdir("other")
    with serving() as server:
        run(server.url, "--batch", "submit")
        assert len(server.batches) > 3


def test_a_budget_limits_the_round(capsys):
    """Only as many requests as the budget covers with their token limits are sent, and a price is shown."""
    with serving() as server:
        prices = ("--price-in", "1", "--price-out", "5", "--max-cost", "0.009")
        assert run(server.url, "--batch", "submit", *prices) == 1
        told = capsys.readouterr().err
        asked = server.batches["batch_1"]["request_counts"]["total"]
        assert 0 < asked < PLAN
        assert f"Round of {asked} requests" in told
        assert "Not all of the requests are in this round" in told


def test_a_live_run_does_not_pay_for_rows_in_batches(capsys):
    """A live run on the same output is refused while answers are open, and may finish it afterwards."""
    with serving(by_question(refused=2)) as server:
        run(server.url, "--batch", "submit")
        with mock_server.serving() as live:
            assert run(live.url) == 2
            assert live.stats.requests == 0
            assert "10 requests for its rows are in batches that are not collected" in capsys.readouterr().err
            run(server.url, "--batch", "collect")
            assert run(live.url) == 0
    assert len(lines()) == PLAN


def test_two_commands_at_once_exclude_each_other(capsys):
    """While one command works on the batches of an output, another one is refused in one line."""
    with serving() as server, files.locked(Path("out.jsonl.batch.json")):
        assert run(server.url, "--batch", "submit") == 2
        assert server.batches == {}
    assert "another run is writing this file" in capsys.readouterr().err


def test_other_flags_are_refused(capsys):
    """The plan, the server and the model must be those of the first round."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        assert run(server.url, "--batch", "collect", "--seed", "7") == 2
        assert "seed 0 then, 7 now" in capsys.readouterr().err
        assert run(server.url, "--batch", "collect", "--model", "other") == 2
        assert run(server.url, "--batch", "submit", "--overwrite") == 2
        assert run(server.url + "/", "--batch", "collect") in (0, 1)


def test_a_server_without_batches_is_named(capsys):
    """The error says what the server lacks and what to do."""
    with mock_server.serving() as server:
        assert run(server.url, "--batch", "submit") == 2
    assert "has no Batches API" in capsys.readouterr().err


def test_a_model_that_refuses_parameters_is_asked_without_them():
    """What the short first call has shown is in all requests of the batch."""
    with serving() as server:
        shown = server.page

        def page(method, path, content):
            if path == "/v1/chat/completions" and b'"max_tokens"' in content:
                message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
                error = {"message": message, "code": "unsupported_parameter", "param": "max_tokens"}
                return 400, json.dumps({"error": error}).encode()
            return shown(method, path, content)

        server.page = page
        run(server.url, "--batch", "submit", "--service-tier", "flex", "--reasoning-effort", "low")
    assert all("max_tokens" not in body and body["max_completion_tokens"] > 4096 for body in server.bodies)
    assert all("service_tier" not in body and body["reasoning_effort"] == "low" for body in server.bodies)


# ---- files only


def test_files_only_need_no_server(capsys):
    """With --batch-files the requests are written, and answers are read from the output that vllm run-batch writes."""
    answer, flags = by_question(refused=1), ("--batch-files", "--model", "smol")
    command = ("--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "1", "--no-progress", *flags)
    assert script.main([*command, "--batch", "submit"]) == 1
    assert (
        "Run: uv run --group vllm vllm run-batch -i out.jsonl.batch/round-1-part-1.input.jsonl"
        in capsys.readouterr().err
    )
    assert script.main([*command, "--batch", "status"]) == 1
    assert script.main([*command, "--batch", "collect"]) == 1
    assert "by bucket" not in capsys.readouterr().err  # nothing is there
    for number in itertools.count(1):
        path = Path(f"out.jsonl.batch/round-{number}-part-1.input.jsonl")
        requests = [json.loads(text) for text in path.read_text("utf-8").splitlines()]
        found = [line(one["custom_id"], completion(one["body"], answer(one["body"]))) for one in reversed(requests)]
        output = path.with_name(path.name.replace("input", "output"))
        output.write_text("".join(json.dumps(one) + "\n" for one in found), "utf-8")
        if script.main([*command, "--batch", "collect"]) == 0:
            break
        script.main([*command, "--batch", "submit"])
    assert len(lines()) == PLAN
    assert {row["meta"]["model"] for row in lines()} == {"smol"}


# ---- servers that answer oddly


@pytest.mark.parametrize("said", [b'{"error": {"message": "busy"}}', b"<html>Bad gateway</html>", b"{", b"[]"])
def test_an_answer_that_is_no_batch_keeps_the_batch(monkeypatch, capsys, said):
    """A 200 without a batch, as gateways send it, is an error in one line, and a later collect finds the answers."""
    with serving() as server:
        assert run(server.url, "--batch", "submit") == 1
        real = server.page
        monkeypatch.setattr(server, "page", lambda method, path, content: (200, said))
        assert run(server.url, "--batch", "collect") in (1, 2)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert "error: " in told
        monkeypatch.setattr(server, "page", real)
        assert run(server.url, "--batch", "collect") == 0
        assert server.paid_twice == 0
    assert len(lines()) == PLAN


def test_a_batch_that_the_key_cannot_see_is_no_missing_api(capsys):
    """A 404 for one batch says that the batch is not there, and what can be done."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        server.refuses = lambda method, page: (404, "No batch found") if page.startswith("batches/") else None
        assert run(server.url, "--batch", "collect") == 2
    told = capsys.readouterr().err
    assert "does not have /v1/batches/" in told
    assert "the project that made the batch" in told


def test_answers_of_an_earlier_run_are_not_read_as_those_of_a_new_one():
    """After --overwrite a new round has another number than all files of answers."""
    with serving() as server:
        assert rounds(server.url) == 0
        assert run(server.url, "--batch", "submit", "--overwrite") == 1
    names = {path.name for path in Path("out.jsonl.batch").glob("*.input.jsonl")}
    answered = {path.name for path in Path("out.jsonl.batch").glob("*.output.jsonl")}
    new = json.loads(Path("out.jsonl.batch.json").read_text("utf-8"))["parts"]
    assert {f"round-{part['round']}-part-{part['number']}.input.jsonl" for part in new} <= names
    assert not {f"round-{part['round']}-part-{part['number']}.output.jsonl" for part in new} & answered


def test_a_run_whose_answers_are_all_refused_asks_no_further_round(capsys):
    """--max-rejected stops after a round of refused answers, and 0 goes on."""
    with serving(lambda body: "This is plain English.") as server:
        run(server.url, "--batch", "submit")
        run(server.url, "--batch", "collect")
        assert run(server.url, "--batch", "submit", "--max-rejected", "5") == 2
        assert "none of 10 answers of the earlier rounds passes the gates" in capsys.readouterr().err
        assert run(server.url, "--batch", "submit", "--max-rejected", "0") == 1


def test_an_output_that_is_no_file_is_refused_before_a_batch_is_paid():
    """A pipe keeps no batches, so `--out -` is refused; stdout that is a file has its batches beside this file."""
    command = [sys.executable, script.__file__, "--topics", "topics.txt", "--n-per-topic", "1", "--model", "m"]
    command += ["--batch-files", "--out", "-"]
    piped = subprocess.run([*command, "--batch", "submit"], capture_output=True, text=True)
    assert (piped.returncode, "--out /dev/stdout is no file" in piped.stderr) == (2, True), piped.stderr
    with open("rows.jsonl", "w") as rows:
        first, again = (
            subprocess.run([*command, "--batch", name], stdout=rows).returncode for name in ("submit", "status")
        )
    assert first == 1
    assert again == 1
    assert Path("rows.jsonl.batch.json").is_file()


def test_an_output_behind_a_link_has_its_batches():
    """status and collect find the batches of the file that --out links to."""
    with serving() as server:
        run(server.url, "--batch", "submit")
        Path("link.jsonl").symlink_to("out.jsonl")
        assert run(server.url, "--batch", "status", "--out", "link.jsonl") == 1
        assert run(server.url, "--batch", "collect", "--out", "link.jsonl") == 0
    assert len(lines()) == PLAN
