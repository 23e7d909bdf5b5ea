"""The generator as its users run it: the plan met exactly, nothing lost, one clear line for each mistake."""

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
from doric.core.jsonl import Journal, read_jsonl
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
    """A file of ninety of our topics from all groups."""
    path = tmp_path_factory.mktemp("topics") / "topics.json"
    groups = json.loads((ROOT / "topics.json").read_text("utf-8"))["groups"]
    few = {group: listed[: -(-TOPICS // len(groups))] for group, listed in groups.items()}
    flat = [{"topic": topic, "group": group} for group, listed in few.items() for topic in listed][:TOPICS]
    path.write_text(json.dumps(flat), "utf-8")
    return path


def command(*flags, out):
    """The command line with the embedded voice."""
    return [sys.executable, str(SCRIPT), "--backend", "heuristic", "--out", str(out), *map(str, flags)]


def run(argv, env=ENVIRON, limit=None):
    """Run to the end, apart from the caller's environment and terminal; no file may grow past `limit` bytes."""
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
    """A run under way; whatever is left of it at the end of the block is killed."""
    with subprocess.Popen(argv, env=ENVIRON, stderr=subprocess.PIPE, text=True, **settings) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition, process=None):
    """Wait until `condition` holds, or the process has ended."""
    until = time.monotonic() + 60
    while not condition() and (process is None or process.poll() is None):
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.001)


def size(path):
    """Bytes in a file, 0 when it is not there."""
    return path.stat().st_size if path.exists() else 0


def files(out):
    """The bytes of the rows and of the refusals."""
    return out.read_bytes(), Path(f"{out}.rejected.jsonl").read_bytes()


def rows(path):
    """The objects of a file of JSON lines."""
    return [row for _, row in read_jsonl(path)] if size(path) else []


def clear_error(done, *said):
    """Check that a run ended as a user's mistake does: exit 2, one `error:` line, perhaps a `hint:`, nothing else."""
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert [line.split(":")[0] for line in lines] in (["error"], ["error", "hint"]), done.stderr
    assert done.stdout == ""
    for part in said:
        assert part in done.stderr


@pytest.fixture(scope="module")
def whole(topics, tmp_path_factory):
    """What one uninterrupted run of the plan gives: its output path, its finished process."""
    out = tmp_path_factory.mktemp("whole") / "out.jsonl"
    done = run(command("--topics-json", topics, "--n-per-topic", EACH, out=out))
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture
def same(topics, whole, tmp_path):
    """The same plan in a folder of its own: output path, command line, the bytes it must end with."""
    out = tmp_path / "out.jsonl"
    return out, command("--topics-json", topics, "--n-per-topic", EACH, "--no-progress", out=out), files(whole[0])


# ---- the plan


def test_the_plan_is_met_exactly(topics, whole):
    """Every job of the plan has its row, in the plan's order, with its prompt, bucket and language."""
    made = rows(whole[0])
    plan = Plan(read_topics(topics), Mix(EACH))
    assert Counter(row["meta"]["kind"] for row in made) == Counter(plan.counts)
    assert [row["meta"]["id"] for row in made] == [job.id for job in plan]
    for row, job in zip(made, plan, strict=True):
        asked, said = row["messages"]
        assert (asked["role"], asked["content"]) == ("user", job.prompt.text)
        assert (said["role"], row["meta"]["topic"]) == ("assistant", job.topic.text)
        assert (row["meta"]["group"], row["meta"]["kind"]) == (job.topic.group, job.kind)
        assert row["meta"]["lang"] == job.prompt.lang


def test_every_row_is_two_turns_with_its_figures(whole):
    """No system turn, no empty turn, and the voice is named so that nobody takes it for a model."""
    for row in rows(whole[0]):
        check_row(row)
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert set(row) == {"messages", "meta"}
        meta = row["meta"]
        assert meta["backend"] == "heuristic"
        assert 12 <= meta["wc"] <= 220
        assert meta["tries"] >= 1
        assert all(0 <= meta[figure] <= 1 for figure in FIGURES)


def test_refusals_are_kept_and_summed(whole):
    """Each refused answer is on disk with its gate, its reason and its figure, and the end of the run sums them."""
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


def test_away_from_a_terminal_log_lines_show_how_far_it_is(whole, same):
    """Rows, rate and refusals are logged every so often, and not at all when nobody wants them."""
    _, argv, _ = same
    assert f"500 of {TOPICS * EACH} rows, " in whole[1].stderr
    assert "rows/s, rejected " in whole[1].stderr
    assert "rows/s" not in run(argv).stderr


@pytest.mark.parametrize(("concurrency", "hash_seed"), [(1, "1"), (64, "2")])
def test_same_seed_same_bytes(concurrency, hash_seed, same):
    """Neither the number of workers nor Python's hash seed changes a byte."""
    out, argv, expected = same
    run([*argv, "--max-concurrency", str(concurrency)], env=ENVIRON | {"PYTHONHASHSEED": hash_seed})
    assert files(out) == expected


def test_another_seed_is_another_dataset(topics, tmp_path):
    """Prompts and answers both depend on the seed."""
    said = []
    for seed in (1, 2):
        run(command("--topics-json", topics, "--n-per-topic", 2, "--seed", seed, out=tmp_path / f"{seed}.jsonl"))
        said.append(rows(tmp_path / f"{seed}.jsonl"))
    one, two = said
    assert len(one) == len(two) == 2 * TOPICS
    prompts, answers = ([{row["messages"][turn]["content"] for row in some} for some in said] for turn in (0, 1))
    assert len(prompts[0] & prompts[1]) < TOPICS / 5
    assert len(answers[0] & answers[1]) < TOPICS / 5


def test_topics_from_two_files_and_chosen_languages(tmp_path):
    """Both lists are used, a topic in both comes once, and only the languages asked for are spoken."""
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
    assert {row["meta"]["topic"] for row in rows(out)} == {HENS, "mending a broken gate", "why bread goes stale"}
    assert Counter(row["meta"]["lang"] for row in rows(out) if row["meta"]["kind"] == "multi") == {"es": 3, "zh": 3}


def test_a_dry_run_writes_nothing(topics, tmp_path):
    """The plan is printed with its buckets; no file appears."""
    done = run(command("--topics-json", topics, "--dry-run", out=tmp_path / "out.jsonl"))
    assert done.returncode == 0
    assert "540 rows over 90 topics: core 351, adv 54, safety 27, multi 108" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_held_out_topic_is_left_out(tmp_path):
    """A topic that is a held-out prompt is named and gets no row; a list of nothing else is refused."""
    held = next(one for one in held_out_prompts() if one.lang == "en" and one.bucket == "core").prompt
    (tmp_path / "topics.txt").write_text(f"{held}\n{HENS}\n")
    done = run(command("--topics", tmp_path / "topics.txt", out=tmp_path / "out.jsonl"))
    assert done.returncode == 0
    assert held in done.stderr
    assert {row["meta"]["topic"] for row in rows(tmp_path / "out.jsonl")} == {HENS}
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


def test_odd_topics_are_filled_too(tmp_path):
    """Other scripts, markup, braces and topics of one letter get all their rows."""
    (tmp_path / "odd.json").write_text(json.dumps(ODD))
    done = run(command("--topics-json", tmp_path / "odd.json", out=tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    assert Counter(row["meta"]["topic"] for row in rows(tmp_path / "out.jsonl")) == dict.fromkeys(ODD, 6)


# ---- slots that stay empty


def test_slots_that_stay_empty_are_named_and_the_rest_is_kept(topics, whole, tmp_path):
    """With one try a slot, the run exits 1, names empty slots by bucket, topic and id, and keeps all others."""
    out = tmp_path / "out.jsonl"
    flags = ("--topics-json", topics, "--n-per-topic", EACH)
    done = run(command(*flags, "--max-tries", 1, out=out))
    made = {row["meta"]["id"] for row in rows(out)}
    empty = [job for job in Plan(read_topics(topics), Mix(EACH)) if job.id not in made]
    assert done.returncode == 1
    assert f"{len(made):,} of {TOPICS * EACH:,} rows" in done.stderr
    assert len(empty) == len(rows(Path(f"{out}.rejected.jsonl"))) > 20
    named = [line for line in done.stderr.splitlines() if line.startswith("  unfilled:")]
    for line, job in zip(named, empty[:20], strict=False):
        assert f"{job.kind} slot {job.slot} of '{job.topic.text}' ({job.id})" in line
    assert f"and {len(empty) - 20:,} more" in named[-1]

    assert run(command(*flags, out=out)).returncode == 0
    assert {row["meta"]["id"] for row in rows(out)} == made | {job.id for job in empty}


# ---- runs that are stopped


def test_a_killed_run_goes_on_to_the_same_bytes(same):
    """Killed at start and in the midst, again and again, a run ends with the bytes of one that never was."""
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
def test_a_torn_last_line_is_mended(torn, same, whole):
    """Half a row, half a refusal or half of each at the end of the files: the next run makes them whole."""
    out, argv, expected = same
    made, refused = (block.splitlines(keepends=True) for block in expected)
    at = 500
    known = {row["meta"]["id"] for row in rows(whole[0])[:at]}
    before = [line for line in refused if json.loads(line)["id"] in known]
    half_row = made[at][: len(made[at]) // 2] if torn != "refusals" else b""
    half_refusal = before.pop()[:-9] if torn != "rows" else b""
    if half_refusal:  # its job cannot have been finished yet
        at = next(place for place, line in enumerate(made) if json.loads(line)["meta"]["id"] in half_refusal.decode())
        half_row = b"" if torn == "refusals" else made[at][:40]
    out.write_bytes(b"".join(made[:at]) + half_row)
    Path(f"{out}.rejected.jsonl").write_bytes(b"".join(before) + half_refusal)
    shutil.copy(f"{whole[0]}.plan.json", f"{out}.plan.json")
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_a_finished_run_changes_nothing_when_run_again(same, whole):
    """The same command on a finished file is done at once."""
    out, argv, expected = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_an_interrupted_run_goes_on_to_the_same_bytes(same):
    """Ctrl-C leaves whole lines, and the same command goes on from them."""
    out, argv, expected = same
    with started(argv) as process:
        wait_for(lambda: size(out) > 10_000, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert out.read_bytes().endswith(b"}\n")
    assert expected[0].startswith(out.read_bytes())
    assert run(argv).returncode == 0
    assert files(out) == expected


def test_the_first_interrupt_ends_in_order(topics, tmp_path):
    """Ctrl-C stops a run of many workers soon, with a word on how to go on and exit 130."""
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
    """As soon as there is a file, Ctrl-C ends a run in order, even while it still gets ready."""
    out, argv, expected = same
    with started(argv) as process:
        wait_for(out.exists, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert expected[0].startswith(out.read_bytes())


def test_a_report_does_not_replace_a_file_of_another_kind(topics, tmp_path):
    """--report over somebody's notes ends the run before it begins."""
    notes = tmp_path / "notes.md"
    notes.write_text("# My notes\n", "utf-8")
    done = run(command("--topics-json", topics, "--report", notes, out=tmp_path / "out.jsonl"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {notes}: the file exists and is not a page of a dataset")
    assert os.listdir(tmp_path) == ["notes.md"]


def test_a_dry_run_tells_of_another_plan_too(same, whole):
    """What the run itself would refuse, --dry-run refuses in the same words."""
    out, argv, _ = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    assert run([*argv, "--dry-run"]).returncode == 0
    done = run([*argv, "--seed", "1", "--dry-run"])
    assert done.returncode == 2
    assert "started with another plan" in done.stderr
    assert not done.stdout


def test_another_plan_on_the_same_file_is_refused(same, whole, topics):
    """The difference and the remedy are named, and nothing is touched."""
    out, _, expected = same
    for suffix in ("", ".rejected.jsonl", ".plan.json"):
        shutil.copy(f"{whole[0]}{suffix}", f"{out}{suffix}")
    for flag, value in (("--n-per-topic", 3), ("--seed", 1), ("--adv-ratio", 0.2)):
        done = run(command("--topics-json", topics, "--n-per-topic", EACH, flag, value, out=out))
        clear_error(done, str(out), "another plan", flag.strip("-").replace("-", "_"), "--overwrite", "--out")
    assert files(out) == expected


def test_rows_without_their_plan_are_refused(same, whole):
    """So is a file of rows whose plan is gone, and refusals whose rows are."""
    out, argv, expected = same
    shutil.copy(whole[0], out)
    clear_error(run(argv), str(out), "cannot be resumed", "--overwrite")
    assert out.read_bytes() == expected[0]
    out.unlink()
    shutil.copy(f"{whole[0]}.rejected.jsonl", f"{out}.rejected.jsonl")
    clear_error(run(argv), "out.jsonl.rejected.jsonl", "cannot be resumed", "--overwrite")
    assert Path(f"{out}.rejected.jsonl").read_bytes() == expected[1]


def test_overwrite_starts_again(same):
    """With --overwrite, whatever was there makes way."""
    out, argv, expected = same
    out.write_text('{"somebody": "else\'s"}\n')
    Path(f"{out}.rejected.jsonl").write_text("not even JSON\n")
    assert run([*argv, "--overwrite"]).returncode == 0
    assert files(out) == expected


def test_somebody_elses_file_is_left_alone(same):
    """A file that is no journal is refused and stays as it is."""
    out, argv, _ = same
    out.write_text("Dear diary,\n")
    clear_error(run(argv), str(out))
    assert out.read_text() == "Dear diary,\n"


def test_two_runs_do_not_write_one_file(same):
    """The second is told that another is at it."""
    out, argv, _ = same
    with Journal(out):
        clear_error(run(argv), str(out), "another run is writing this file")


# ---- what users get wrong


def topic_file(folder, content, name="topics.json"):
    """A file of topics with just this content."""
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
def test_topics_that_cannot_be_read(case, tmp_path):
    """One clear line that names the file, and no output begun."""
    content, said = BAD_TOPICS[case]
    path = tmp_path / "topics.json"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    clear_error(run(command("--topics-json", path, out=tmp_path / "out.jsonl")), str(path), said)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_byte_order_mark_is_accepted(tmp_path):
    """A file of topics saved with a BOM is as good as one without."""
    path = topic_file(tmp_path, b"\xef\xbb\xbf" + json.dumps([HENS]).encode())
    assert run(command("--topics-json", path, "--n-per-topic", 1, out=tmp_path / "out.jsonl")).returncode == 0


BAD_FLAGS = {
    "--adv-ratio 0.5 --safety-ratio 0.3 --multi-ratio 0.3": "the ratios sum to 1.1, more than 1",
    "--langs es,tlh": "--langs: no prompts in tlh",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_flags_that_no_run_can_have(flags, topics, tmp_path, capsys):
    """Shares that sum to more than one and unknown languages are named by their flag."""
    argv = command("--topics-json", topics, *flags.split(), out=tmp_path / "out.jsonl")
    code = generate_doric_dataset.main(argv[2:])
    clear_error(subprocess.CompletedProcess(argv, code, *capsys.readouterr()), BAD_FLAGS[flags])
    assert list(tmp_path.iterdir()) == []


BAD_NUMBERS = ["--n-per-topic -1", "--n-per-topic 0", "--adv-ratio -0.5", "--multi-ratio nan", "--max-concurrency 0"]
BAD_NUMBERS += ["--max-tries -2", "--max-retries -1", "--progress-every 0", "--max-total-tokens -5", "--max-cost -1"]
BAD_NUMBERS += ["--timeout nan", f"--n-per-topic {10**30}", "--seed 0.5"]


@pytest.mark.parametrize("flags", BAD_NUMBERS)
def test_a_number_that_no_run_can_have_is_a_usage_error(flags, tmp_path, monkeypatch, capsys):
    """A bad number ends with exit 2 and a line that names the flag, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        generate_doric_dataset.main(flags.split())
    assert f"error: argument {flags.split()[0]}: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written(topics, tmp_path):
    """A directory, a file for a folder, a name too long: named, with a hint, and nothing left behind."""
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
def test_a_folder_without_permission(mode, topics, tmp_path):
    """A folder that may not be written, or not even entered, is named."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(mode)
    argv = command("--topics-json", topics, out=folder / "out.jsonl")
    if os.geteuid() == 0:  # to root every folder is open, unless it gives that up
        if not (setpriv := shutil.which("setpriv")):
            pytest.skip("root needs setpriv to be refused anything")
        powers = "-dac_override,-dac_read_search"
        argv = [setpriv, f"--inh-caps={powers}", f"--bounding-set={powers}", *argv]
    try:
        clear_error(run(argv), str(folder), "cannot be written: permission denied")
    finally:
        folder.chmod(0o700)


def test_a_full_disk_loses_nothing(same):
    """When the disk takes no more, one line says so; with room again the run goes on to the same bytes."""
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
    """Where not even the plan can be written, that is said, and no half file stays."""
    out, argv, _ = same
    done = run(argv, limit=0)
    clear_error(done, "out.jsonl", "cannot be written")
    assert all(size(path) == 0 for path in out.parent.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_device_that_is_full(same):
    """/dev/full behaves as a full disk does."""
    out, argv, _ = same
    out.symlink_to("/dev/full")
    clear_error(run(argv), str(out), "cannot be written: the disk is full")


# ---- what is shown, and what it takes


def test_a_bar_on_a_terminal(topics, tmp_path):
    """On a terminal a bar shows rows, rate and refusals, and --no-progress shows none."""
    shown = {}
    for flags in ([], ["--no-progress"]):
        main, side = pty.openpty()
        termios.tcsetwinsize(side, (24, 100))
        argv = command("--topics-json", topics, "--n-per-topic", 2, *flags, out=tmp_path / f"{len(flags)}.jsonl")
        process = subprocess.Popen(argv, env=ENVIRON | {"TERM": "xterm"}, stderr=side)
        os.close(side)
        read = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
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
    """After as many rows, a plan of ninety million rows has taken no more memory than one of nine thousand."""
    peaks = []
    for each in (100, 1_000_000):
        out = tmp_path / f"{each}.jsonl"
        with started(command("--topics-json", topics, "--n-per-topic", each, out=out)) as process:
            wait_for(lambda out=out: size(out) > 100_000, process)
            status = Path(f"/proc/{process.pid}/status").read_text()
        peaks.append(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]))
    assert peaks[1] < peaks[0] * 1.1
