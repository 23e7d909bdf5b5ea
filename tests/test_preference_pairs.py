"""The command that makes preference pairs: which pairs, their balance, their formats, and the input it refuses."""

import json
import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core import files
from doric.data import read_toml
from doric.preferences.balance import Sketch, balanced, gate_caps, limits
from doric.quality.decontamination import held_out_prompts
from make_preference_pairs import main

GOOD = "Rub a drap dish liquid intae the collar an lat it bide ten meenits afore the wash."
GATES = ("english", "thin", "word_swap", "leakage")


def row(number, prompt="", answer=GOOD, **meta):
    """An accepted row with its own prompt."""
    asked = prompt or f"How do I wash sark number {number}?"
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": f"{answer} Sark {number}."}]
    return {"messages": turns, "meta": {"id": f"id{number}", "kind": "core", "topic": "sarks", **meta}}


def refused(number, gate="english", answer="Rub a drop of soap into the collar and let it be", **more):
    """A refused answer to the prompt of the row with this number."""
    prompt = f"How do I wash sark number {number}?"
    entry = {"id": f"id{number}", "gate": gate, "reason": f"it is {gate}", "prompt": prompt}
    return {**entry, "answer": f"{answer}, number {number}.", **more}


@pytest.fixture
def make(tmp_path):
    """Write the files, run the command in this process, and return its exit status and the rows that it wrote."""

    def run(rows, entries, *flags, pairs=None):
        out = tmp_path / "pairs.jsonl"
        _write(tmp_path / "rows.jsonl", rows)
        _write(tmp_path / "rows.jsonl.rejected.jsonl", entries)
        more = []
        if pairs is not None:
            _write(tmp_path / "more.jsonl", pairs)
            more = ["--pairs", str(tmp_path / "more.jsonl")]
        status = main(["--rows", str(tmp_path / "rows.jsonl"), "--out", str(out), *more, *flags])
        return status, [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else None

    return run


def _write(path, entries):
    path.write_bytes(b"".join(files.encode_json(entry) + b"\n" for entry in entries))


def mixed(count):
    """Rows and refused answers of four gates; in half of the pairs the chosen answer is the longer one."""
    long = "Rub a drop of soap into the collar of the shirt and let it be for ten minutes or so before you wash it"
    entries = [refused(n, GATES[n % 4], long if n % 8 < 4 else "Rub a drop of soap into it now") for n in range(count)]
    return [row(n) for n in range(count)], entries


def test_a_refused_answer_stands_beside_the(make):
    """A rejected answer is paired with the accepted answer to the same prompt."""
    status, pairs = make(*mixed(8))
    assert status == 0
    assert len(pairs) == 8
    first = pairs[0]
    assert first["prompt"] == [{"role": "user", "content": "How do I wash sark number 0?"}]
    assert first["chosen"] == [{"role": "assistant", "content": f"{GOOD} Sark 0."}]
    assert first["rejected"][0]["content"].startswith("Rub a drop of soap")
    assert first["meta"]["why"] == "english"
    assert first["meta"]["reason"] == "it is english"


def test_without_a_judge_the_margin_is(make):
    """Without a judge the margin is the difference of the shares of scots words."""
    _, pairs = make(*mixed(4))
    assert pairs[0]["meta"]["margin_of"] == "scots"
    assert 0.2 < pairs[0]["meta"]["margin"] <= 1


def test_with_a_judge_of_both_answers(make):
    """With a judge of both answers the margin is the difference of its mean scores."""
    rows, entries = mixed(4)
    rows[0]["meta"]["judge"] = {"answers": 5, "correct": 4, "doric": 3, "reason": "guid"}
    entries[0]["judge"] = {"answers": 2, "correct": 2, "doric": 2, "reason": "ill"}
    _, pairs = make(rows, entries)
    assert (pairs[0]["meta"]["margin"], pairs[0]["meta"]["margin_of"]) == (2.0, "judge")


def test_a_refused_follow_up_gets_the(make):
    """A refused follow up gets the whole chat before it as its prompt."""
    chat = row(0, follow_ups=[{"judge": {"answers": 5}}])
    chat["messages"] += [{"role": "user", "content": "Fit wye?"}, {"role": "assistant", "content": "For it lifts."}]
    later = refused(0, "thin", "It lifts the dirt", follow_up="Fit wye?", turn=3, judge={"answers": 1})
    _, pairs = make([chat], [later])
    assert pairs[0]["prompt"] == chat["messages"][:3]
    assert pairs[0]["chosen"][0]["content"] == "For it lifts."
    assert (pairs[0]["meta"]["margin"], pairs[0]["meta"]["margin_of"]) == (4.0, "judge")


def test_no_pair_comes_twice_and_no(make):
    """No pair comes twice and no prompt has more pairs than the limit."""
    rows, entries = mixed(8)
    entries += [entries[0], {**entries[0], "answer": entries[0]["answer"].upper()}]
    entries += [refused(1, "thin", f"Anither wey number {n} o it aa thegither for the sark") for n in range(5)]
    _, pairs = make(rows, entries, "--most-of-a-gate", "1")
    found = Counter(pair["prompt"][0]["content"] for pair in pairs)
    assert found["How do I wash sark number 0?"] == 1
    assert found["How do I wash sark number 1?"] == limits().per_prompt


def test_chats_with_the_same_follow_up_are_different_prompts(make):
    """The limit of pairs counts whole chats, because many of them have the same last question."""
    chats, entries = [row(number) for number in range(6)], []
    for number, chat in enumerate(chats):
        chat["messages"] += [{"role": "user", "content": "Fit wye?"}, {"role": "assistant", "content": "For it lifts."}]
        entries.append(refused(number, "thin", "It lifts", follow_up="Fit wye?", turn=3))
    _, pairs = make(chats, entries)
    assert len(pairs) == len(chats) > limits().per_prompt


@pytest.mark.parametrize("gate", sorted(read_toml("preferences/balance.toml")["not_worse"]))
def test_a_rejection_that_says_nothing_about(make, gate, capsys):
    """A rejection that says nothing about the answer makes no pair."""
    rows, entries = mixed(8)
    _, pairs = make(rows, [{**entries[0], "gate": gate}, *entries[1:]])
    assert "How do I wash sark number 0?" not in [pair["prompt"][0]["content"] for pair in pairs]
    assert "1: refused for something that makes no answer worse" in capsys.readouterr().err


def test_a_prompt_of_the_evaluation_makes(make, capsys):
    """A prompt of the evaluation makes no pair."""
    held_out = held_out_prompts()[0].prompt
    rows, entries = mixed(8)
    make([*rows, row(9, held_out)], [*entries, refused(9) | {"prompt": held_out}])
    assert "1: the question is one of the evaluation" in capsys.readouterr().err


def test_a_refused_answer_without_an_accepted(make, capsys):
    """A refused answer without an accepted one is counted and left out."""
    rows, entries = mixed(8)
    status, pairs = make(rows, [*entries, refused(99)])
    assert status == 0
    assert len(pairs) == 8
    assert "1: no accepted answer to the same question" in capsys.readouterr().err


def test_no_gate_has_more_than_its(make):
    """No gate has more than its share of the pairs."""
    rows, entries = mixed(80)
    many = [refused(n, "english", "Rub a drop of soap into it, this is English for sure") for n in range(80, 280)]
    _, pairs = make([*rows, *(row(n) for n in range(80, 280))], [*entries, *many])
    found = Counter(pair["meta"]["why"] for pair in pairs)
    assert max(found.values()) <= limits().most_of_a_gate * found.total() + 1


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1), st.floats(0.05, 1))
def test_the_caps_hold_the_share_and(counts, share):
    """The caps hold the share and another pair of each gate would break it."""
    caps = gate_caps(counts, share)
    share = max(share, 1 / len(counts))
    total = sum(min(count, caps[gate]) for gate, count in counts.items())
    assert max(caps.values()) <= share * total + 1e-6 or max(caps.values()) == min(counts.values())


@given(st.lists(st.tuples(st.sampled_from(GATES), st.integers(5, 90), st.integers(5, 90)), max_size=120))
def test_neither_the_longer_nor_the_shorter(found):
    """Neither the longer nor the shorter answer is chosen more often than the limit."""
    sketches = [Sketch(n, *one) for n, one in enumerate(found)]
    kept = balanced(sketches, 7, most_of_a_gate=1, most_longer=0.6)
    sides = Counter(one.side for one in kept)
    both = {one.side for one in sketches} >= {1, -1}
    assert not both or max(sides[1], sides[-1]) <= 0.6 * len(kept) + 1
    assert kept == balanced(sketches, 7, most_of_a_gate=1, most_longer=0.6)


def test_verdicts_are_the_answers_one_by(make):
    """Verdicts are the answers one by one with a label."""
    _, found = make(*mixed(8), "--format", "verdicts")
    assert len(found) == 16
    assert [one["label"] for one in found[:2]] == [True, False]
    assert set(found[0]) == {"prompt", "completion", "label", "meta"}


def test_pairs_of_a_review_are_added(make):
    """Pairs of a review are added with their own reasons."""
    one = {
        "prompt": [{"role": "user", "content": "How do I dry a sark?"}],
        "chosen": [{"role": "assistant", "content": "Hing it oot in the win."}],
        "rejected": [{"role": "assistant", "content": "Hang it out in the win."}],
        "meta": {"why": "review", "reason": "two readers chose it", "margin": 1.0, "margin_of": "review"},
    }
    _, pairs = make(*mixed(8), pairs=[one])
    assert pairs[-1] == one


def test_the_same_files_and_seed_give(make, tmp_path):
    """The same files and seed give the same pairs."""
    first = make(*mixed(40), "--most-of-a-gate", "0.26")[1]
    assert make(*mixed(40), "--most-of-a-gate", "0.26", "--overwrite")[1] == first


def test_an_old_file_is_replaced_only(make, tmp_path, capsys):
    """An old file is replaced only with overwrite and a copy is kept."""
    make(*mixed(8))
    old = (tmp_path / "pairs.jsonl").read_bytes()
    assert make(*mixed(4))[0] == 2
    assert (tmp_path / "pairs.jsonl").read_bytes() == old
    assert make(*mixed(4), "--overwrite")[0] == 0
    assert (tmp_path / "pairs.jsonl.bak").read_bytes() == old


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"gate": "thin", "answer": "x"}, 'rejected.jsonl:9: the key "prompt" is missing'),
        ({"prompt": 3, "gate": "thin", "answer": "x"}, 'rejected.jsonl:9: the key "prompt" is missing or no text'),
        ({"prompt": "x", "gate": None, "answer": "x"}, 'rejected.jsonl:9: the key "gate" is missing or no text'),
        (["x"], "rejected.jsonl:9: not a JSON object"),
    ],
)
def test_a_line_that_is_no_rejection(make, entry, said, capsys):
    """A line that is no rejection is one error with its line."""
    rows, entries = mixed(8)
    assert make(rows, [*entries, entry]) == (2, None)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "broken",
    [
        {"prompt": []},
        {"chosen": ""},
        {"rejected": [{"role": "user", "content": "x"}]},
        {"chosen": [{"role": "user", "content": "another"}, {"role": "assistant", "content": "y"}]},
    ],
)
def test_a_line_that_is_no_pair(make, broken, capsys):
    """A line that is no pair is one error with its line."""
    pair = {"prompt": "x", "chosen": "y", "rejected": "z"}
    assert make(*mixed(8), pairs=[pair, pair | broken]) == (2, None)
    assert "more.jsonl:2: " in capsys.readouterr().err


def test_an_answer_may_repeat_its_prompt(make):
    """Some datasets have the whole chat in `chosen` and `rejected`; only the answer is taken."""
    chat = [{"role": "user", "content": "How do I dry a sark?"}, {"role": "assistant", "content": "Hing it oot."}]
    _, pairs = make(*mixed(8), pairs=[{"prompt": chat[0]["content"], "chosen": chat, "rejected": "Hang it out."}])
    assert pairs[-1]["chosen"] == chat[1:]


def test_without_a_usable_pair_nothing_is(make, capsys):
    """Without a usable pair nothing is written and the reasons are said."""
    assert make([row(1)], [refused(9)]) == (2, None)
    assert "no pair is left (1 no accepted answer to the same question)" in capsys.readouterr().err
    assert make([row(1)], []) == (2, None)
    assert "no pair is left (the files have no refused answers)" in capsys.readouterr().err


def test_a_run_without_any_refused_answer(make, tmp_path, capsys):
    """A run without any refused answer and without pairs is an error that says what to give."""
    assert make([row(1)], []) == (2, None)
    assert "--rejected" in capsys.readouterr().err


def test_the_output_may_not_be_one(make, tmp_path, capsys):
    """The output may not be one of the inputs."""
    make(*mixed(8))
    rows = tmp_path / "rows.jsonl"
    assert main(["--rows", str(rows), "--out", str(rows), "--overwrite"]) == 2
    assert "is the input itself" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--rows", "--rejected", "--pairs"])
@pytest.mark.parametrize("name", ["-", "pipe"])
def test_what_can_be_read_only_once_is_refused(make, tmp_path, monkeypatch, capsys, flag, name):
    """Each input is read twice, so stdin and a pipe are one line that says so, and not an empty file."""
    make(*mixed(8))
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    given = {"--rows": "rows.jsonl", "--rejected": "rows.jsonl.rejected.jsonl", flag: name}
    assert main([*(text for pair in given.items() for text in pair), "--out", "other.jsonl"]) == 2
    assert capsys.readouterr().err.endswith(
        f"error: {name}: cannot be read: not a regular file\n"
        "hint: It is read twice: write it to a file first, and give that.\n"
    )
