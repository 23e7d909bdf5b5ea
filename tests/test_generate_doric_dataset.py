"""The generator as users run it: the plan is met exactly, no row is lost, and every mistake gives one clear error."""

import contextlib
import json
import os
import pty
import random
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path

import pytest

import generate_doric_dataset
from doric.core.conversations import check_row
from doric.core.journal import Journal
from doric.core.jsonl import read_jsonl
from doric.dataset.plan import Mix, Plan
from doric.quality.decontamination import held_out_prompts
from doric.topics.lists import read_topics

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "dataset_generation" / "generate_doric_dataset.py"
TOPICS, EACH = 90, 8
ENVIRON = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
FIGURES = ("substrate", "north_east", "leakage", "spread", "contamination")
HENS = "keeping hens warm in winter"


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """A file with ninety topics of the project, from all groups."""
    path = tmp_path_factory.mktemp("topics") / "topics.json"
    groups = json.loads((ROOT / "topics.json").read_text("utf-8"))["groups"]
    few = {group: listed[: -(-TOPICS // len(groups))] for group, listed in groups.items()}
    flat = [{"topic": topic, "group": group} for group, listed in few.items() for topic in listed][:TOPICS]
    path.write_text(json.dumps(flat), "utf-8")
    return path


def command(*flags, out):
    """The command line for the embedded voice."""
    return [sys.executable, str(SCRIPT), "--backend", "heuristic", "--out", str(out), *map(str, flags)]


def run(argv, env=ENVIRON, limit=None):
    """Run to the end in a clean environment without a terminal. No file may grow beyond `limit` bytes."""
    return subprocess.run(
        argv,
        env=env,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextlib.contextmanager
def started(argv, **settings):
    """Start a run. If it still runs at the end of the block, it is killed."""
    with subprocess.Popen(argv, env=ENVIRON, stderr=subprocess.PIPE, text=True, **settings) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition, process=None):
    """Wait until `condition` is true or the process has ended."""
    until = time.monotonic() + 60
    while not condition() and (process is None or process.poll() is None):
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.001)


def size(path):
    """The size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def files(out):
    """The bytes of the rows and of the rejections."""
    return out.read_bytes(), Path(f"{out}.rejected.jsonl").read_bytes()


def rows(path):
    """The objects of a JSON Lines file."""
    return [row for _, row in read_jsonl(path)] if size(path) else []


def clear_error(done, *said):
    """Check that a run ended with exit status 2 and printed only one `error:` line and perhaps a `hint:` line."""
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert [line.split(":")[0] for line in lines] in (["error"], ["error", "hint"]), done.stderr
    assert done.stdout == ""
    for part in said:
        assert part in done.stderr


@pytest.fixture(scope="module")
def whole(topics, tmp_path_factory):
    """The result of an uninterrupted run: its output path and the finished process."""
    out = tmp_path_factory.mktemp("whole") / "out.jsonl"
    done = run(command("--topics-json", topics, "--n-per-topic", EACH, out=out))
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture
def same(topics, whole, tmp_path):
    """The same plan in its own folder: output path, command line, and the bytes expected at the end."""
    out = tmp_path / "out.jsonl"
    return out, command("--topics-json", topics, "--n-per-topic", EACH, "--no-progress", out=out), files(whole[0])


# ---- the plan


def test_the_plan_is_met_exactly(topics, whole):
    """Every job has its row, in the order of the plan, with the prompt, bucket and language of the job."""
    made = rows(whole[0])
    plan = Plan(read_topics(topics), Mix(EACH))
    assert Counter(row["meta"]["kind"] for row in made) == Counter(plan.counts)
    assert [row["meta"]["id"] for row in made] == [job.id for job in plan]
    for row, job in zip(made, plan, strict=True):
        asked, said = row["messages"]
        assert (asked["role"], asked["content"]) == ("user", job.prompt.text)
        assert (said["role"], row["meta"]["topic"]) == ("assistant", job.about)
        assert (row["meta"]["group"], row["meta"]["kind"]) == (job.group, job.kind)
        assert row["meta"].get("ask", "") == job.prompt.ask
        assert row["meta"]["lang"] == job.prompt.lang


def test_every_row_has_two_turns_and_its_scores(whole):
    """Each row has two turns with text and no system turn, and its backend is "heuristic"."""
    for row in rows(whole[0]):
        check_row(row)
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert set(row) == {"messages", "meta"}
        meta = row["meta"]
        assert meta["backend"] == "heuristic"
        assert (1 if meta["group"] == meta.get("ask") else 12) <= meta["wc"] <= 220
        assert meta["tries"] >= 1
        assert all(0 <= meta[figure] <= 1 for figure in FIGURES)


def test_rejections_are_recorded_and_counted(whole):
    """Each rejected answer is on disk with its gate, reason and figure, and the summary counts the rejections."""
    out, done = whole
    refused = rows(Path(f"{out}.rejected.jsonl"))
    tries = {row["meta"]["id"]: row["meta"]["tries"] for row in rows(out)}
    assert len(refused) == sum(tries.values()) - len(tries) > 0
    for entry in refused:
        assert entry["answer"]
        assert entry["gate"]
        assert entry["reason"]
        assert entry["try"] < tries[entry["id"]]
        assert entry["figure"] is None or entry["figure"] >= 0
    for gate, count in Counter(entry["gate"] for entry in refused).items():
        assert f"{gate} {count:,}" in done.stderr
    assert f"{TOPICS * EACH:,} of {TOPICS * EACH:,} rows" in done.stderr


def test_progress_is_logged_without_a_terminal(whole, same):
    """Rows, rate and rejections are logged at intervals, and --no-progress turns this off."""
    _, argv, _ = same
    assert f"500 of {TOPICS * EACH} rows, " in whole[1].stderr
    assert "rows/s, rejected " in whole[1].stderr
    assert "rows/s" not in run(argv).stderr


@pytest.mark.parametrize(("concurrency", "hash_seed"), [(1, "1"), (64, "2")])
def test_the_same_seed_gives_the_same_bytes(concurrency, hash_seed, same):
    """--max-concurrency and Python's hash seed do not change any byte."""
    out, argv, expected = same
    run([*argv, "--max-concurrency", str(concurrency)], env=ENVIRON | {"PYTHONHASHSEED": hash_seed})
    assert files(out) == expected


def test_another_seed_gives_another_dataset(topics, tmp_path):
    """Another seed gives other prompts and other answers."""
    said = []
    for seed in (1, 2):
        run(command("--topics-json", topics, "--n-per-topic", 2, "--seed", seed, out=tmp_path / f"{seed}.jsonl"))
        said.append(rows(tmp_path / f"{seed}.jsonl"))
    one, two = said
    assert len(one) == len(two) == 2 * TOPICS
    prompts, answers = ([{row["messages"][turn]["content"] for row in some} for some in said] for turn in (0, 1))
    assert len(prompts[0] & prompts[1]) < TOPICS / 5
    assert len(answers[0] & answers[1]) < TOPICS / 5


def topics_in(out):
    """The topics of the rows that have one."""
    metas = (row["meta"] for row in rows(out))
    return {meta["topic"] for meta in metas if meta["group"] not in ("safety", meta.get("ask"))}


def test_two_topic_files_and_chosen_languages(tmp_path):
    """Topics of both files are used without duplicates, and only the chosen languages occur."""
    (tmp_path / "a.json").write_text(json.dumps({"farm": [HENS, "mending a broken gate"]}))
    (tmp_path / "b.txt").write_text("  Keeping  HENS warm in winter\nwhy bread goes stale\n")
    out = tmp_path / "new" / "folder" / "out.jsonl"
    flags = (
        "--topics-json",
        tmp_path / "a.json",
        "--topics",
        tmp_path / "b.txt",
        "--langs",
        "es, zh",
        "--multi-ratio",
        0.5,
    )
    assert run(command(*flags, "--n-per-topic", 4, out=out)).returncode == 0
    assert topics_in(out) == {HENS, "mending a broken gate", "why bread goes stale"}
    assert Counter(row["meta"]["lang"] for row in rows(out) if row["meta"]["kind"] == "multi") == {"es": 3, "zh": 3}


def test_what_is_asked_can_be_chosen(topics, tmp_path):
    """--ask-mix changes the shares of asks, and the dry run and the summary count them."""
    flags = ("--topics-json", topics, "--ask-mix", "none,sum=0.2,greeting=0.1")
    plan = "core rows by what is asked: advice 246, sum 70, greeting 35"
    assert plan in run(command(*flags, "--dry-run", out=tmp_path / "out.jsonl")).stdout
    done = run(command(*flags, out=tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    assert "core asks: advice 246, sum 70, greeting 35" in done.stderr
    assert Counter(row["meta"].get("ask") for row in rows(tmp_path / "out.jsonl"))["sum"] == 70


def test_a_wrong_ask_mix_is_an_error(topics, tmp_path):
    """An unknown kind of ask is named, with those that there are."""
    done = run(command("--topics-json", topics, "--ask-mix", "greting=0.1", out=tmp_path / "out.jsonl"))
    clear_error(done, "--ask-mix: there is no ask 'greting'")
    assert "greeting" in done.stderr


def test_rows_without_asks_are_continued_without_asks(topics, tmp_path):
    """Rows whose plan has no asks, as plans of earlier versions, are completed by a command without --ask-mix."""
    out = tmp_path / "out.jsonl"
    argv = command("--topics-json", topics, "--n-per-topic", 2, out=out)
    assert run([*argv, "--ask-mix", "none"]).returncode == 0
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:100]))
    assert run(argv).returncode == 0
    assert out.read_bytes() == whole
    clear_error(run([*argv, "--ask-mix", "sum=0.5"]), "was started with another plan (ask_mix")


def test_a_dry_run_writes_nothing(topics, tmp_path):
    """A dry run prints the plan with its buckets and writes nothing."""
    done = run(command("--topics-json", topics, "--dry-run", out=tmp_path / "out.jsonl"))
    assert done.returncode == 0
    assert "540 rows over 90 topics: core 351, adv 54, safety 27, multi 108" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_held_out_topic_is_dropped(tmp_path):
    """A topic that matches a held-out prompt is logged and gets no row, and a list of only such topics is an error."""
    held = next(one for one in held_out_prompts() if one.lang == "en" and one.bucket == "core").prompt
    (tmp_path / "topics.txt").write_text(f"{held}\n{HENS}\n")
    done = run(command("--topics", tmp_path / "topics.txt", out=tmp_path / "out.jsonl"))
    assert done.returncode == 0
    assert held in done.stderr
    assert topics_in(tmp_path / "out.jsonl") == {HENS}
    (tmp_path / "topics.txt").write_text(held)
    done = run(command("--topics", tmp_path / "topics.txt", "--log-level", "error", out=tmp_path / "other.jsonl"))
    clear_error(done, "every topic matches a held-out prompt")


ODD = [
    "{topic} and {0} in braces",
    "日本語の話",
    "العربية في المدرسة",
    "`rm -rf` for beginners",
    "a",
    "100% %s \\1",
    "🐑🐑",
]


def test_unusual_topics_get_all_their_rows(tmp_path):
    """Topics in other scripts, with markup, with braces or of one letter get all their rows."""
    (tmp_path / "odd.json").write_text(json.dumps(ODD))
    flags = ("--ask-mix", "none", "--safety-ratio", 0)
    done = run(command("--topics-json", tmp_path / "odd.json", *flags, out=tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    assert Counter(row["meta"]["topic"] for row in rows(tmp_path / "out.jsonl")) == dict.fromkeys(ODD, 6)


# ---- unfilled jobs


def test_unfilled_jobs_are_counted_for_each_reason(topics, whole, tmp_path):
    """With one try per job, the exit status is 1, and the summary has one line: the first unfilled job and how many."""
    out = tmp_path / "out.jsonl"
    flags = ("--topics-json", topics, "--n-per-topic", EACH)
    done = run(command(*flags, "--max-tries", 1, out=out))
    made = {row["meta"]["id"] for row in rows(out)}
    empty = [job for job in Plan(read_topics(topics), Mix(EACH)) if job.id not in made]
    assert done.returncode == 1
    assert f"{len(made):,} of {TOPICS * EACH:,} rows" in done.stderr
    assert len(empty) == len(rows(Path(f"{out}.rejected.jsonl"))) > 5
    (named,) = [line for line in done.stderr.splitlines() if line.startswith("  unfilled:")]
    assert f"{empty[0].kind} slot {empty[0].slot} of '{empty[0].topic.text}' ({empty[0].id})" in named
    assert f" and {len(empty) - 1:,} more: no answer passed in 1 tries" in named

    assert run(command(*flags, out=out)).returncode == 0
    assert {row["meta"]["id"] for row in rows(out)} == made | {job.id for job in empty}


# ---- stopped runs


def test_a_killed_run_resumes_to_the_same_bytes(same):
    """A run that is killed several times ends with the same bytes as an uninterrupted run."""
    out, argv, expected = same
    draw = random.Random(3)
    for stop in [0, *sorted(draw.sample(range(1, len(expected[0])), 3)), len(expected[0]) - 1]:
        with started(argv) as process:
            time.sleep(draw.uniform(0.02, 0.2) if stop == 0 else 0)
            wait_for(lambda stop=stop: size(out) >= stop, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert expected[0].startswith(out.read_bytes() if out.exists() else b"")
    assert run(argv).returncode == 0
    assert files(out) == expected


@pytest.mark.parametrize("torn", ["rows", "refusals", "both"])
def test_an_incomplete_last_line_is_repaired(torn, same, whole):
    """An incomplete last line in the rows, in the rejections or in both is repaired."""
    out, argv, expected = same
    made, refused = (block.splitlines(keepends=True) for block in expected)
    at = 500
    known = {row["meta"]["id"] for row in rows(whole[0])[:at]}
    before = [line for line in refused if json.loads(line)["id"] in known]
    half_row = made[at][: len(made[at]) // 2] if torn != "refusals" else b""
    half_refusal = before.pop()[:-9] if torn != "rows" else b""
    if half_refusal:  # the job of that line cannot have been finished yet
        at = next(place for place, line in enumerate(made) if json.loads(line)["meta"]["id"] in half_refusal.decode())
        half_row = b"" if torn == "refusals" else made[at][:40]
    out.write_bytes(b"".join(made[:at]) + half_row)
    Path(f"{out}.rejected.jsonl").write_bytes(b"".join(before) + half_refusal)
    shutil.copy(f"{whole[0]}.plan.json", f"{out}.plan.json")
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_a_finished_run_changes_nothing_when_run_again(same, whole):
    """If a run is finished, the same command ends at once and changes nothing."""
    out, argv, expected = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_an_interrupted_run_resumes_to_the_same_bytes(same):
    """Ctrl-C leaves only complete lines, and the resumed run ends with the same bytes."""
    out, argv, expected = same
    with started(argv) as process:
        wait_for(lambda: size(out) > 10_000, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert out.read_bytes().endswith(b"}\n")
    assert expected[0].startswith(out.read_bytes())
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_the_first_interrupt_stops_cleanly(topics, tmp_path):
    """Ctrl-C soon stops a run with many workers, prints a hint about resuming, and gives exit status 130."""
    out = tmp_path / "out.jsonl"
    with started(command("--topics-json", topics, "--n-per-topic", 1000, "--max-concurrency", 500, out=out)) as process:
        wait_for(lambda: size(out) > 10_000, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "run the same command to resume" in said
    assert "Traceback" not in said
    assert 0 < len(rows(out)) < 90_000 / 4


def test_an_interrupt_before_the_first_row_leaves_no_traceback(same):
    """Ctrl-C gives no traceback as soon as the output file exists, even before the first row."""
    out, argv, expected = same
    with started(argv) as process:
        wait_for(out.exists, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert expected[0].startswith(out.read_bytes())


def test_a_report_does_not_replace_a_file_of_another_kind(topics, tmp_path):
    """If --report names an existing file of another kind, the run ends with an error before it starts."""
    notes = tmp_path / "notes.md"
    notes.write_text("# My notes\n", "utf-8")
    done = run(command("--topics-json", topics, "--report", notes, out=tmp_path / "out.jsonl"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {notes}: the file exists and is not a page of a dataset")
    assert os.listdir(tmp_path) == ["notes.md"]


def test_a_dry_run_refuses_another_plan_too(same, whole):
    """A dry run with another plan gives the same error as a run."""
    out, argv, _ = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    assert run([*argv, "--dry-run"]).returncode == 0
    done = run([*argv, "--seed", "1", "--dry-run"])
    assert done.returncode == 2
    assert "started with another plan" in done.stderr
    assert not done.stdout


def test_another_plan_on_the_same_file_is_refused(same, whole, topics):
    """The error says what differs, the hint says what to do, and the files do not change."""
    out, _, expected = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    for flag, value in (("--n-per-topic", 3), ("--seed", 1), ("--adv-ratio", 0.2)):
        done = run(command("--topics-json", topics, "--n-per-topic", EACH, flag, value, out=out))
        clear_error(done, str(out), "another plan", flag.strip("-").replace("-", "_"), "--overwrite", "--out")
    assert files(out) == expected


def test_rows_without_their_plan_are_refused(same, whole):
    """If the plan file is missing, rows or rejections cannot be resumed."""
    out, argv, expected = same
    shutil.copy(whole[0], out)
    clear_error(run(argv), str(out), "cannot be resumed", "--overwrite")
    assert out.read_bytes() == expected[0]
    out.unlink()
    shutil.copy(f"{whole[0]}.rejected.jsonl", f"{out}.rejected.jsonl")
    clear_error(run(argv), "out.jsonl.rejected.jsonl", "cannot be resumed", "--overwrite")
    assert Path(f"{out}.rejected.jsonl").read_bytes() == expected[1]


def test_overwrite_starts_again(same):
    """--overwrite replaces rows, rejections and plan."""
    out, argv, expected = same
    out.write_text('{"somebody": "else\'s"}\n')
    Path(f"{out}.rejected.jsonl").write_text("not even JSON\n")
    assert run([*argv, "--overwrite"]).returncode == 0
    assert files(out) == expected


def test_overwrite_keeps_every_earlier_file(same, whole):
    """Rows of the embedded voice that somebody corrected by hand are kept too, each time under the next number."""
    out, argv, expected = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    corrected = []
    for word in ("first", "second"):
        text = out.read_bytes().replace(b"the", word.encode(), 1)
        out.write_bytes(text)
        corrected.append(text)
        assert run([*argv, "--overwrite"]).returncode == 0
    assert files(out) == expected
    assert [Path(f"{out}{end}").read_bytes() for end in (".bak", ".bak.2")] == corrected
    assert Path(f"{out}.rejected.jsonl.bak.2").read_bytes() == expected[1]
    assert Path(f"{out}.plan.json.bak.2").exists()


def emptied(line):
    """The row without its answer."""
    row = json.loads(line)
    row["messages"][1]["content"] = " "
    return json.dumps(row).encode() + b"\n"


def test_a_pipe_in_the_place_of_the_plan_is_no_endless_wait(same, whole):
    """If the plan was replaced by a pipe, a new start ends at once with an error that names it."""
    out, argv, _ = same
    for suffix in ("", ".rejected.jsonl"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    os.mkfifo(f"{out}.plan.json")
    clear_error(run(argv), f"{out}.plan.json: the plan of the run goes there, but it is not a regular file")


def test_a_link_to_the_rows_resumes_their_run(same, whole):
    """A run whose --out is a link to the rows of an earlier run has their plan and their rejections."""
    out, argv, expected = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    link = out.with_name("link.jsonl")
    link.symlink_to(out.name)
    assert run([link if part == out else part for part in argv]).returncode == whole[1].returncode
    assert files(out) == expected
    assert not list(out.parent.glob("link.jsonl.*"))


@pytest.mark.parametrize("file", ["rows", "rejections"])
@pytest.mark.parametrize(
    "change", ["broken", "nan", "twice", "unknown", "other plan", "no id", "latin-1", "no keys", "emptied"]
)
def test_an_edited_last_line_is_refused(same, whole, topics, tmp_path, file, change):
    """A last line that this run cannot have written is named by its number, and nothing changes."""
    out, argv, _ = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    path = out if file == "rows" else Path(f"{out}.rejected.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)[: 40 if file == "rows" else 10]
    last, id = lines[-1], (json.loads(lines[-1]).get("meta") or json.loads(lines[-1]))["id"].encode()
    if change == "other plan":
        other = tmp_path / "other" / "out.jsonl"
        assert run(command("--topics-json", topics, "--n-per-topic", 8, "--seed", 5, out=other)).returncode == 0
        last = (other if file == "rows" else Path(f"{other}.rejected.jsonl")).read_bytes().splitlines(keepends=True)[0]
    edited = {
        "broken": last.rstrip()[:-1] + b",}\n",
        "nan": last.rstrip()[:-1] + b',"score":NaN}\n',
        "twice": lines[3],
        "unknown": last.replace(id, b"0" * 16),
        "other plan": last,
        "no id": last.replace(b'"id":', b'"Id":'),
        "latin-1": last.replace(b"e", b"\xe9"),
        "no keys": b"{}\n",
        "emptied": emptied(last) if file == "rows" else last.replace(b'"answer":"', b'"answer":1,"old":"'),
    }[change]
    path.write_bytes(b"".join([*lines[:-1], edited]))
    before = files(out)
    clear_error(run(argv), f"{path}:{len(lines)}: ")
    assert files(out) == before


@pytest.mark.parametrize("words", ["answer", "prompt"])
def test_a_row_that_somebody_corrected_is_kept(same, whole, words):
    """A corrected answer or prompt stays as it is, even if it would not pass, and the run fills the other jobs."""
    out, argv, _ = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    lines = out.read_bytes().splitlines(keepends=True)
    row = json.loads(lines[-2])
    row["messages"][words == "answer"]["content"] = "This is plain English now."
    out.write_bytes(b"".join([*lines[:-2], json.dumps(row).encode()]))  # and no newline at the end
    assert run(argv).returncode == 0
    kept = out.read_bytes().splitlines(keepends=True)
    assert json.loads(kept[-2]) == row
    assert [*kept[:-2], kept[-1]] == [*lines[:-2], lines[-1]]


def test_a_change_of_the_language_data_is_named(same, whole):
    """If the prompts differ because somebody has edited the language data, the error names the files."""
    out, argv, _ = same
    shutil.copy(whole[0], out)
    plan = json.loads(Path(f"{whole[0]}.plan.json").read_bytes())
    assert plan["data"]["prompts.toml"]
    store = Path(f"{out}.plan.json").write_text
    store(json.dumps(plan | {"data": plan["data"] | {"lexicon.tsv": "other", "gone.tsv": "x"}}))
    assert run(argv).returncode == 0, "the prompts are the same"
    store(json.dumps(plan | {"prompts": "other", "data": plan["data"] | {"prompts.toml": "other", "lexicon.tsv": "x"}}))
    clear_error(run(argv), "other prompts, because ", "data/lexicon.tsv, ", "data/prompts.toml have changed")
    store(json.dumps(plan | {"prompts": "other", "data": {}}))
    clear_error(run(argv), "other prompts, because ", f" and {len(plan['data']) - 5} more have changed")
    del plan["data"]  # as earlier versions have written it
    store(json.dumps(plan | {"prompts": "other"}))
    clear_error(run(argv), "other prompts: a file in ", "/data/ or this program has changed")
    store(json.dumps(plan))
    assert run(argv).returncode == 0


def test_a_failed_start_leaves_nothing(topics, tmp_path):
    """If a run ends before its first row, no file and no folder is left, neither of the rows nor of the report."""
    out, page = tmp_path / "new" / "out.jsonl", tmp_path / "pages" / "deeper" / "page.html"
    argv = command("--topics-json", topics, "--report", page, out=out)
    argv[argv.index("heuristic")] = "openai"
    env = ENVIRON | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "MODEL": "m"}
    assert run([*argv, "--max-retries", "0"], env=env).returncode == 2
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    clear_error(run(command("--report", tmp_path / "file" / "page.html", out=out)), "a part of its path is a file")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_not_a_journal_is_left_alone(same):
    """A file that is not a journal gives an error and does not change."""
    out, argv, _ = same
    out.write_text("Dear diary,\n")
    clear_error(run(argv), str(out))
    assert out.read_text() == "Dear diary,\n"


def test_two_runs_cannot_write_one_file(same):
    """While one run writes a file, a second run on the same file gets an error."""
    out, argv, _ = same
    with Journal(out):
        clear_error(run(argv), str(out), "another run is writing this file")


# ---- mistakes of users


def topic_file(folder, content, name="topics.json"):
    """A topic file with this content."""
    (folder / name).write_bytes(content)
    return folder / name


BAD_TOPICS = {
    "missing": (None, "there is no such file"),
    "a directory": ("folder", "it is a directory"),
    "empty": (b"", "the file is empty"),
    "not UTF-8": (b'["caf\xe9"]', "not UTF-8"),
    "not JSON": (b'["hens"', "not JSON"),
    "another shape": (b'{"groups": ["hens"]}', "the key 'groups' holds a list"),
    "another shape within": (b'{"farm": {"hens": 1}}', "the group 'farm' holds an object"),
    "no key": (b'[{"name": "hens"}]', "item 1 has no key 'topic'"),
    "a topic that is a number": (b'{"farm": ["hens", 12]}', "topic 2 of group 'farm' is a number, not a string"),
    "half a character": (b'["hens \\ud800"]', "item 1 contains half a character"),
}


@pytest.mark.parametrize("case", BAD_TOPICS)
def test_an_unreadable_topic_file_is_an_error(case, tmp_path):
    """The error for an unreadable topic file names the file, and no output file is created."""
    content, said = BAD_TOPICS[case]
    path = tmp_path / "topics.json"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    clear_error(run(command("--topics-json", path, out=tmp_path / "out.jsonl")), str(path), said)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_byte_order_mark_is_accepted(tmp_path):
    """A topic file with a byte-order mark is read like a file without it."""
    path = topic_file(tmp_path, b"\xef\xbb\xbf" + json.dumps([HENS]).encode())
    assert run(command("--topics-json", path, "--n-per-topic", 1, out=tmp_path / "out.jsonl")).returncode == 0


BAD_FLAGS = {
    "--adv-ratio 0.5 --safety-ratio 0.3 --multi-ratio 0.3": "the ratios sum to 1.1, more than 1",
    "--langs es,tlh": "--langs: no prompts in tlh",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_an_impossible_plan_is_an_error(flags, topics, tmp_path, capsys):
    """Shares that add up to more than 1, and unknown languages, are errors."""
    argv = command("--topics-json", topics, *flags.split(), out=tmp_path / "out.jsonl")
    code = generate_doric_dataset.main(argv[2:])
    clear_error(subprocess.CompletedProcess(argv, code, *capsys.readouterr()), BAD_FLAGS[flags])
    assert list(tmp_path.iterdir()) == []


BAD_NUMBERS = ["--n-per-topic -1", "--n-per-topic 0", "--adv-ratio -0.5", "--multi-ratio nan", "--max-concurrency 0"]
BAD_NUMBERS += ["--max-tries -2", "--max-retries -1", "--progress-every 0", "--max-total-tokens -5", "--max-cost -1"]
BAD_NUMBERS += ["--timeout nan", f"--n-per-topic {10**30}", "--seed 0.5"]


@pytest.mark.parametrize("flags", BAD_NUMBERS)
def test_a_number_out_of_range_is_a_usage_error(flags, tmp_path, monkeypatch, capsys):
    """The error for a number out of range names the flag, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        generate_doric_dataset.main(flags.split())
    assert f"error: argument {flags.split()[0]}: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_an_error(topics, tmp_path):
    """If the output is a folder, is inside a file or has too long a name, the run fails and leaves nothing behind."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for out, said in (
        (tmp_path / "folder", "it is a directory"),
        (tmp_path / "file" / "out.jsonl", "a part of its path is a file"),
        (tmp_path / "file" / "deeper" / "out.jsonl", "a part of its path is a file"),
        (tmp_path / ("a" * 300), "file name too long"),
    ):
        clear_error(run(command("--topics-json", topics, out=out)), "cannot be written", said)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_without_permission_is_an_error(mode, topics, tmp_path):
    """A folder that the user may not write or not enter gives an error."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(mode)
    argv = command("--topics-json", topics, out=folder / "out.jsonl")
    if os.geteuid() == 0:  # root may open every folder, unless the test drops that right
        if not (setpriv := shutil.which("setpriv")):
            pytest.skip("root needs setpriv to be refused anything")
        powers = "-dac_override,-dac_read_search"
        argv = [setpriv, f"--inh-caps={powers}", f"--bounding-set={powers}", *argv]
    try:
        clear_error(run(argv), str(folder), "cannot be written: permission denied")
    finally:
        folder.chmod(0o700)


def test_a_full_disk_loses_nothing(same):
    """A full disk gives one error line, and when space is free again, the run resumes to the same bytes."""
    out, argv, expected = same
    done = run(argv, limit=200_000)
    clear_error(done, str(out), "cannot be written")
    kept = out.read_bytes()
    assert 150_000 < len(kept) <= 200_000
    assert kept.endswith(b"}\n")
    assert expected[0].startswith(kept)
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_a_disk_that_was_full_from_the_start(same):
    """If the disk is full from the start, there is one error line and no incomplete file."""
    out, argv, _ = same
    done = run(argv, limit=0)
    clear_error(done, "out.jsonl", "cannot be written")
    assert all(size(path) == 0 for path in out.parent.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_device_that_is_full(same):
    """/dev/full gives the same error as a full disk."""
    out, argv, _ = same
    out.symlink_to("/dev/full")
    clear_error(run(argv), str(out), "cannot be written: the disk is full")


# ---- progress bar and memory


def test_a_terminal_gets_a_progress_bar(topics, tmp_path):
    """The progress bar shows rows, rate and rejections, and --no-progress turns it off."""
    shown = {}
    for flags in ([], ["--no-progress"]):
        main, side = pty.openpty()
        termios.tcsetwinsize(side, (24, 100))
        argv = command("--topics-json", topics, "--n-per-topic", 2, *flags, out=tmp_path / f"{len(flags)}.jsonl")
        process = subprocess.Popen(argv, env=ENVIRON | {"TERM": "xterm"}, stderr=side)
        os.close(side)
        read = b""
        with contextlib.suppress(OSError):  # on Linux, this error means that the other end is closed
            while chunk := os.read(main, 65536):
                read += chunk
        os.close(main)
        assert process.wait() == 0
        shown[not flags] = read.decode()
    assert "180/180" in shown[True]
    assert "row/s" in shown[True]
    assert "rejected" in shown[True]
    assert "row/s" not in shown[False]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_plan(topics, tmp_path):
    """After the same number of rows, a plan of 90,000,000 rows uses no more memory than a plan of 9,000 rows."""
    peaks = []
    for each in (100, 1_000_000):
        out = tmp_path / f"{each}.jsonl"
        with started(command("--topics-json", topics, "--n-per-topic", each, out=out)) as process:
            wait_for(lambda out=out: size(out) > 100_000, process)
            status = Path(f"/proc/{process.pid}/status").read_text()
        peaks.append(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]))
    assert peaks[1] < peaks[0] * 1.1
