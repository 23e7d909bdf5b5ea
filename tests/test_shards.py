"""Shards of a plan: each has the mix of the whole, and merged and filled they are the dataset of a single run."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

import generate_doric_dataset
from doric.core.files import lock_open_file
from doric.dataset.plan import Mix, Plan
from doric.dataset.shards import Shard
from doric.topics.lists import Topic

ROOT = Path(__file__).parents[1]
COUNT = 3
TOPICS, EACH = 4, 100


def topics(few):
    """The first topics of a group of the project."""
    groups = json.loads((ROOT / "topics.json").read_text("utf-8"))["groups"]
    return [Topic(topic, group) for group, listed in list(groups.items())[:few] for topic in listed[:1]]


def generate(folder, *flags, out, each=EACH):
    """The exit status of the generator with the embedded voice."""
    listed = folder / "topics.json"
    listed.write_text(json.dumps([{"topic": one.text, "group": one.group} for one in topics(TOPICS)]), "utf-8")
    always = ("--backend", "heuristic", "--no-progress", "--topics-json", str(listed), "--n-per-topic", str(each))
    return generate_doric_dataset.main([*always, "--out", str(folder / out), *map(str, flags)])


def by_id(path):
    """Id -> line of each row, in order."""
    return {json.loads(line)["meta"]["id"]: line for line in path.read_bytes().splitlines()}


def near_duplicates(path):
    """The ids of the rows that had an answer rejected as a near-duplicate."""
    entries = map(json.loads, path.read_bytes().splitlines())
    return {entry["id"] for entry in entries if entry["gate"] == "near_duplicate"}


@pytest.fixture(scope="module", params=["2", "2-3"])
def filled(request, tmp_path_factory):
    """A folder with a single run, its shards, the merged file as it was, and that file filled."""
    folder = tmp_path_factory.mktemp("shards")
    turns = ("--turns", request.param)
    assert generate(folder, *turns, out="single.jsonl") == 0
    names = [f"{number}.jsonl" for number in range(1, COUNT + 1)]
    for number, name in enumerate(names, 1):
        assert generate(folder, *turns, "--shard", f"{number}/{COUNT}", out=name) == 0
    assert generate(folder, *turns, "--merge", *(folder / name for name in names), out="all.jsonl") == 1
    shutil.copy(folder / "all.jsonl", folder / "merged.jsonl")
    shutil.copy(folder / "all.jsonl.rejected.jsonl", folder / "merged.rejected.jsonl")
    assert generate(folder, *turns, out="all.jsonl") == 0
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the two shards of a small plan, which no test changes."""
    folder = tmp_path_factory.mktemp("two")
    for number in (1, 2):
        assert generate(folder, "--shard", f"{number}/2", out=f"{number}.jsonl", each=2) == 0
    return folder


@pytest.fixture
def shards(two, tmp_path):
    """A copy of that folder."""
    return Path(shutil.copytree(two, tmp_path / "shards"))


def merge(folder, *names, out="all.jsonl", flags=()):
    """The exit status of a merge of shards of the small plan."""
    return generate(folder, *flags, "--merge", *(folder / name for name in names), out=out, each=2)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("each", [1, 6, 24])
def test_each_row_is_in_one_shard_and_each_shard_has_the_mix_of_the_plan(each, count):
    """Sizes differ by at most one row, and buckets and kinds of ask from their share by less than two."""
    plan = Plan([Topic(f"topic {number}", "g") for number in range(60)], Mix(n_per_topic=each))
    shards = [list(Shard(number, count).numbers(plan)) for number in range(1, count + 1)]
    assert sorted(number for shard in shards for number in shard) == list(range(len(plan)))
    sizes = [len(shard) for shard in shards]
    assert sizes == [Shard(number, count).size(len(plan)) for number in range(1, count + 1)]
    assert max(sizes) - min(sizes) <= 1
    kinds = [(job.kind, job.prompt.ask) for job in plan]
    for shard in shards:
        found = Counter(kinds[number] for number in shard)
        assert all(abs(found[kind] - rows / count) < 2 for kind, rows in Counter(kinds).items())


def test_topics_languages_and_turns_are_spread_over_the_shards():
    """No shard has a topic, a language or a number of turns much more often than another."""
    plan = Plan([Topic(f"topic {number}", "g") for number in range(60)], Mix(n_per_topic=24, turns=(2, 3)))
    for count in (2, 7, 14):
        for number in range(1, count + 1):
            jobs = [plan.job(one) for one in Shard(number, count).numbers(plan)]
            for values, shares in (
                ((job.topic.text for job in jobs), 60),
                ((job.prompt.lang for job in jobs if job.kind == "multi"), 14),
                ((job.turns for job in jobs), 2),
            ):
                found = Counter(values)
                mean = found.total() / shares
                assert max(found.values()) < 2 * mean + 4
                assert len(found) == shares or mean < 4


def test_the_merged_and_filled_file_has_the_ids_and_the_mix_of_the_single_run(filled):
    """No id is lost or doubled, and every bucket has as many rows."""
    single, merged = by_id(filled / "single.jsonl"), by_id(filled / "all.jsonl")
    assert single.keys() == merged.keys()
    assert len(merged) == len((filled / "all.jsonl").read_bytes().splitlines()) == TOPICS * EACH
    kinds = [Counter(json.loads(line)["meta"]["kind"] for line in rows.values()) for rows in (single, merged)]
    assert kinds[0] == kinds[1]


def test_a_row_is_the_same_byte_for_byte_unless_a_near_duplicate_was_rejected_for_it(filled):
    """Rows differ from the single run only where duplicates were settled otherwise, and the plan has such rows."""
    single, merged = by_id(filled / "single.jsonl"), by_id(filled / "all.jsonl")
    settled = near_duplicates(filled / "single.jsonl.rejected.jsonl")
    settled |= near_duplicates(filled / "all.jsonl.rejected.jsonl")
    assert {id for id in single if single[id] != merged[id]} <= settled
    assert len(by_id(filled / "merged.jsonl")) < len(single)


def test_merged_rows_keep_the_order_of_the_plan_and_the_first_of_two_near_duplicates(filled):
    """Each row that was left out is rejected as nearly the same as a row that is earlier in the plan."""
    order = list(by_id(filled / "single.jsonl"))
    merged = by_id(filled / "merged.jsonl")
    assert list(merged) == [id for id in order if id in merged]
    entries = map(json.loads, (filled / "merged.rejected.jsonl").read_bytes().splitlines())
    last = {entry["id"]: entry for entry in entries}
    for id in set(order) - merged.keys():
        assert last[id]["gate"] == "near_duplicate"
        kept = last[id]["reason"].split("accepted answer ")[1].split(":")[0]
        assert kept in merged
        assert order.index(kept) < order.index(id)


def test_the_order_of_the_files_does_not_matter(filled, tmp_path):
    """The merged file is the same, whichever shard is named first."""
    turns = "2-3" if (filled / "single.jsonl").read_text().count('"turns"') else "2"
    names = [filled / f"{number}.jsonl" for number in range(COUNT, 0, -1)]
    assert generate(tmp_path, "--turns", turns, "--merge", *names, out="other.jsonl") == 1
    assert (tmp_path / "other.jsonl").read_bytes() == (filled / "merged.jsonl").read_bytes()


def test_shard_one_of_one_is_the_run_without_the_flag(tmp_path):
    """Rows and plan are the same."""
    assert generate(tmp_path, out="plain.jsonl", each=2) == 0
    assert generate(tmp_path, "--shard", "1/1", out="one.jsonl", each=2) == 0
    for ending in ("", ".plan.json"):
        assert (tmp_path / f"plain.jsonl{ending}").read_bytes() == (tmp_path / f"one.jsonl{ending}").read_bytes()


def test_a_shard_resumes_as_the_same_shard_only(shards, capsys):
    """Another shard, or the whole plan, is refused with one line that names both, and the rows stay."""
    rows = (shards / "1.jsonl").read_bytes()
    (shards / "1.jsonl").write_bytes(b"".join(rows.splitlines(keepends=True)[:2]))
    assert generate(shards, "--shard", "2/2", out="1.jsonl", each=2) == 2
    assert "--shard 1/2 then, 2/2 now" in capsys.readouterr().err
    assert generate(shards, out="1.jsonl", each=2) == 2
    assert "--shard 1/2 then, 1/1 now" in capsys.readouterr().err
    assert generate(shards, "--shard", "1/2", out="1.jsonl", each=2) == 0
    assert (shards / "1.jsonl").read_bytes() == rows


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_shard_that_does_not_exist_is_a_mistake_in_the_command(text, tmp_path, capsys):
    """The error shows how a shard is written."""
    with pytest.raises(SystemExit) as stopped:
        generate(tmp_path, f"--shard={text}", out="x.jsonl")
    assert stopped.value.code == 2
    assert "for instance 2/4" in capsys.readouterr().err


def test_a_merge_wants_every_shard_once(shards, capsys):
    """A missing shard, a double one, the whole plan and a file without a plan are named."""
    assert generate(shards, out="whole.jsonl", each=2) == 0
    (shards / "bare.jsonl").write_bytes((shards / "2.jsonl").read_bytes())
    cases = {
        ("1.jsonl",): "shard 2/2 is missing",
        ("1.jsonl", "1.jsonl", "2.jsonl"): "are both shard 1/2",
        ("1.jsonl", "whole.jsonl"): "whole.jsonl is no shard",
        ("1.jsonl", "bare.jsonl"): "has no bare.jsonl.plan.json beside it",
    }
    capsys.readouterr()
    for names, words in cases.items():
        assert merge(shards, *names) == 2
        assert words in capsys.readouterr().err
    assert not (shards / "all.jsonl").exists()


def test_a_merge_refuses_shards_of_another_plan(shards, capsys):
    """Other flags than those of the shards, and shards that differ from each other, are named."""
    assert merge(shards, "1.jsonl", "2.jsonl", flags=("--seed", "1")) == 2
    assert "seed 0 then, 1 now" in capsys.readouterr().err
    assert generate(shards, "--shard", "2/2", "--seed", "1", out="seed.jsonl", each=2) == 0
    assert merge(shards, "1.jsonl", "seed.jsonl") == 2
    assert "seed.jsonl is a shard of another plan (seed 1 then, 0 now)" in capsys.readouterr().err


def test_a_merge_writes_over_no_file(shards, capsys):
    """Neither over a shard nor over an earlier result; nothing changes."""
    before = (shards / "1.jsonl").read_bytes()
    assert merge(shards, "1.jsonl", "2.jsonl", out="1.jsonl") == 2
    assert "it is a shard that is merged" in capsys.readouterr().err
    assert merge(shards, "1.jsonl", "2.jsonl") in (0, 1)
    capsys.readouterr()
    assert merge(shards, "1.jsonl", "2.jsonl") == 2
    assert "the file exists" in capsys.readouterr().err
    assert (shards / "1.jsonl").read_bytes() == before


@pytest.mark.parametrize("flag", ["--dry-run", "--check"])
def test_a_merge_cannot_be_tried_out(shards, flag, capsys):
    """With a flag that promises to write nothing, a merge is refused, and nothing is written."""
    assert merge(shards, "1.jsonl", "2.jsonl", flags=(flag,)) == 2
    assert "a merge writes its rows" in capsys.readouterr().err
    assert not (shards / "all.jsonl").exists()


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"messages": []}', b'{"messages": [], "meta": {}}'])
def test_a_line_that_is_no_row_is_named_and_nothing_is_written(shards, line, capsys):
    """The error has the file and the line."""
    rows = (shards / "2.jsonl").read_bytes().splitlines()
    (shards / "2.jsonl").write_bytes(b"\n".join([rows[0], line, *rows[1:]]) + b"\n")
    assert merge(shards, "1.jsonl", "2.jsonl") == 2
    assert "2.jsonl:2: " in capsys.readouterr().err
    assert not list(shards.glob("all.jsonl*"))


def test_a_row_of_another_shard_or_a_double_row_is_named(shards, capsys):
    """Ids stay unique."""
    first, second = (shards / "1.jsonl").read_bytes(), (shards / "2.jsonl").read_bytes()
    (shards / "2.jsonl").write_bytes(second + first.splitlines(keepends=True)[0])
    assert merge(shards, "1.jsonl", "2.jsonl") == 2
    assert f"2.jsonl:{second.count(b'\n') + 1}: shard 2/2 of the plan has no row" in capsys.readouterr().err
    (shards / "2.jsonl").write_bytes(second + second.splitlines(keepends=True)[0])
    assert merge(shards, "1.jsonl", "2.jsonl") == 2
    assert f"2.jsonl:{second.count(b'\n') + 1}: an earlier line has the same row" in capsys.readouterr().err


def test_an_unfinished_shard_is_merged_and_its_open_rows_are_filled(shards, capsys):
    """The summary says how many rows are open; the single run fills them."""
    rows = (shards / "2.jsonl").read_bytes().splitlines(keepends=True)
    (shards / "2.jsonl").write_bytes(b"".join(rows[:2]))
    assert merge(shards, "1.jsonl", "2.jsonl") == 1
    assert "rows of the plan; run the same command without --merge" in capsys.readouterr().err
    assert generate(shards, out="all.jsonl", each=2) == 0
    assert len(by_id(shards / "all.jsonl")) == TOPICS * 2


def test_a_shard_that_a_run_writes_to_is_not_merged(shards, capsys):
    """The lock of the run is respected."""
    with (shards / "1.jsonl").open("ab") as running:
        lock_open_file(running, shards / "1.jsonl")
        assert merge(shards, "1.jsonl", "2.jsonl") == 2
    assert "1.jsonl" in capsys.readouterr().err
    assert not os.path.exists(shards / "all.jsonl")


@pytest.mark.parametrize("flags", [("--shard", "1/2"), ("--overwrite",), ("--batch", "status")])
def test_a_merge_takes_no_flag_that_says_nothing_to_it(shards, flags, capsys):
    """The flag is named."""
    assert merge(shards, "1.jsonl", "2.jsonl", flags=flags) == 2
    assert f"{flags[0]} cannot be given with --merge" in capsys.readouterr().err
