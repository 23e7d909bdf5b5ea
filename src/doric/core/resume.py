"""Runs that can be stopped and resumed: their journals, and the plan that the rows depend on."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doric.core.backups import Backups, numbered
from doric.core.errors import DoricError, InputError, PlanError, RescuedError, os_error
from doric.core.files import (
    atomic_write,
    check_folder,
    check_space,
    check_writable,
    encode_json,
    file_size,
    parent_folders,
    parse_object,
    refuse_in_use,
)
from doric.core.journal import Journal
from doric.core.jsonl import open_lines
from doric.core.regular_files import NOT_REGULAR, other_kind, read_regular
from doric.core.replay import Replay, check_journal

log = logging.getLogger("doric")

type Plan = dict[str, Any]

PLAN = ".plan.json"
"""The ending of a plan, after the name of its first journal."""
RESCUED = ".rescued"
"""The ending of a file with what another program has removed from its place during the run."""
START_AGAIN = "Give --overwrite to start again (a copy is kept), or another --out to keep both."


def then_and_now(key: str, then: Any, now: Any) -> str:  # noqa: ANN401 - any JSON
    """One difference between two plans, in words."""
    return f"{key} {then} then, {now} now"


def behind_link(out: Path, companion: str) -> Path:
    """`out`, or the file that it is a link to if the file of the run `<out><companion>` is beside that one only."""
    real = Path(os.path.realpath(out))
    own, of_real = (os.path.lexists(f"{path}{companion}") for path in (out, real))
    return real if os.path.islink(out) and of_real and not own else out


@dataclass(slots=True)
class ResumableRun:
    """The files of a run that can be stopped and resumed: its journals and its plan.

    The plan is a JSON object of everything that the rows depend on. It is stored beside the first journal. `open` may
    empty the journals, so do everything that may fail (a wrong key, a server that is down) before `open`:

        files = ResumableRun((out, rejected), overwrite=args.overwrite)
        files.check(plan)
        with files.open(replay_row, replay_rejected) as (rows, rejections):
            files.store(plan)
            rows.write(...)
    """

    journals: tuple[Path, ...]
    overwrite: bool = False
    backups: Backups | None = None
    _plan: Plan | None = field(default=None, init=False)

    @property
    def plan_file(self) -> Path:
        """Where the plan is stored: `<first journal>.plan.json`."""
        return Path(f"{self.journals[0]}{PLAN}")

    @property
    def resumes(self) -> bool:
        """Whether the journals have rows, so that this run adds to them. Raises `InputError` if it cannot write."""
        return not self.overwrite and any(map(file_size, self.journals))

    @property
    def has_rows(self) -> bool:
        """Whether the first journal has rows to resume. Unlike `count`, it does not read them."""
        return not self.overwrite and file_size(self.journals[0]) > 0

    def count(self) -> int:
        """The number of lines of the first journal, 0 with `overwrite`. Raises `InputError` when it cannot be read."""
        if not self.has_rows:
            return 0
        with open_lines(self.journals[0]) as lines:
            return sum(1 for _ in lines)

    def stored(self) -> Plan | None:
        """The stored plan, None when there is none. Raises `InputError` when it cannot be read."""
        self._check_plan_file()
        try:
            return parse_object(read_regular(self.plan_file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(error, self.plan_file, "read") from error
        except InputError as error:
            raise InputError(error.message, file=self.plan_file, hint=START_AGAIN) from error

    def store(self, plan: Plan) -> None:
        """Write the plan in one step. Raises `InputError` when that fails. A device or a pipe cannot be resumed."""
        if os.path.exists(self.journals[0]) and not os.path.isfile(self.journals[0]):
            return
        self._check_plan_file()
        atomic_write(self.plan_file, encode_json(plan) + b"\n")
        self._plan = plan

    def _check_plan_file(self) -> None:
        """Raise `InputError` if a folder, a pipe or a device is in the place of the plan."""
        if kind := other_kind(self.plan_file):
            kept = Path(f"{self.plan_file}{RESCUED}")
            last = f", then rename {kept} to {self.plan_file}." if kept.exists() else ", or choose another --out."
            what = f"the plan of the run goes there, but it is {kind}"
            raise InputError(what, file=self.plan_file, hint=f"Rename or remove it{last}")

    def check(
        self, plan: Plan, *, ignore: Collection[str] = (), describe: Callable[[str, Any, Any], str] = then_and_now
    ) -> None:
        """Raise `PlanError` when there are rows to resume and their plan is missing or differs from `plan`.

        Keys in `ignore` may differ. `describe(key, stored, wanted)` puts one difference into words; "" leaves it out.
        Raises `InputError` if the plan cannot be written, before anything is emptied.
        """
        self._check_plan_file()
        if not self.resumes:
            return
        started = next(path for path in self.journals if file_size(path))
        if (stored := self.stored()) is None:
            refuse_in_use(started)  # by a name that is a link to it, or to which it is a link
            raise PlanError(f"{self.plan_file.name} is missing, so {started} cannot be resumed", hint=START_AGAIN)
        if differing := _differences(stored, plan, ignore):
            words = (describe(key, then, now) for key, (then, now) in differing.items())
            changed = ", ".join(filter(None, words))
            raise PlanError(f"{started} was started with another plan ({changed})", hint=START_AGAIN)

    def check_open(self, *replays: Replay) -> None:
        """Raise `DoricError` where `open` and `store` would, but change nothing. Call `check` first.

        Each row that would be kept is passed to its replay function.
        """
        for path, replay in zip(self.journals, replays, strict=True):
            if other_kind(path) == NOT_REGULAR:  # a device or a pipe has no rows and no folder of its own
                continue
            check_writable(path)
            check_folder(path)  # also if the journal exists: the plan is written beside it
            refuse_in_use(path)
            if not self.overwrite and file_size(path):
                check_journal(path, replay)
        if self.overwrite:
            check_space(self.journals[0], sum(map(file_size, (*self.journals, self.plan_file))))  # they are copied

    @contextlib.contextmanager
    def open(self, *replays: Replay) -> Generator[tuple[Journal, ...]]:
        """The journals, opened so that only this process can write to them. With `overwrite` they are emptied.

        Each row of a journal is passed to its replay function. Before journals are emptied, they and the plan are
        copied to `<file>.bak`, or `<file>.bak.2` and so on (see `Backups`). If no journal has rows at the end, no file
        is left. Raises `DoricError` as `Journal` does, and `RescuedError` at the end for all journals together.
        """
        fresh = self.overwrite  # not if a file was only empty: another run may have written to it meanwhile
        opened: list[Journal] = []
        keeps = [self._back_up, *(lambda: None for _ in self.journals[1:])]  # all copies are made before all changes
        with parent_folders(self.journals[0]):
            try:
                for path, replay, keep in zip(self.journals, replays, keeps, strict=True):
                    opened.append(Journal(path, replay=replay, fresh=fresh, keep=keep))
                yield tuple(opened)
            finally:
                self._close(opened, sys.exception())

    def _close(self, opened: Sequence[Journal], failed: BaseException | None) -> None:
        """Close all journals, then raise their errors, or log them if the run has `failed` for another reason."""
        errors: list[DoricError] = []
        for journal in opened:
            try:
                journal.close()
            except RescuedError:
                pass  # below, with those that were raised during the run
            except DoricError as error:
                errors.append(error)
        rescued = [(journal.rows, error) for journal in opened if (error := journal.rescued)]
        if rescued or any(journal.rows for journal in opened):
            try:
                if (note := self._restore_plan()) and not rescued:
                    log.warning("%s", note)
            except RescuedError as error:
                rescued.append((1, error))
        elif len(opened) == len(self.journals) and os.path.isfile(self.plan_file):
            self.plan_file.unlink(missing_ok=True)
        if rescued:
            saved = [error for rows, error in rescued if rows]  # no rows: they could not be saved, as its error says
            if saved:
                steps = [step for error in saved for step in error.steps]
                errors.append(RescuedError("; ".join(error.message for error in saved), steps=steps))
        if failed is None or isinstance(failed, RescuedError):
            for error in errors:
                raise error from None
        for error in errors:
            log.warning("%s", error.message)

    def _restore_plan(self) -> str:
        """Write the plan again if another program has removed or changed it: the rows cannot be resumed without it.

        Returns what was done, or why it failed. Raises `RescuedError` if there is a folder or a pipe in its place.
        """
        if self._plan is None or self._has_plan(self._plan):
            return ""
        try:
            if kind := other_kind(self.plan_file):
                self._save_plan_aside(self._plan, kind)
            Backups(*self.journals, self.plan_file).keep(self.plan_file)
            self.store(self._plan)
        except RescuedError:
            raise
        except DoricError as error:
            return error.message
        return f"Another program has removed or changed {self.plan_file}; it is written again."

    def _save_plan_aside(self, plan: Plan, kind: str) -> None:
        """Write the plan to another file, and raise `RescuedError`, because `kind` of thing is in its place."""
        aside = next(each for each in numbered(Path(f"{self.plan_file}{RESCUED}")) if not os.path.lexists(each))
        atomic_write(aside, encode_json(plan) + b"\n")
        steps = [f"move {self.plan_file} away ({kind})", f"rename {aside} to {self.plan_file}"]
        message = f"another program has replaced {self.plan_file} during the run; the plan is kept in {aside}"
        raise RescuedError(message, steps=steps)

    def _has_plan(self, plan: Plan) -> bool:
        with contextlib.suppress(InputError):
            return not _differences(self.stored() or {}, plan, ())
        return False

    def _back_up(self) -> None:
        files = (*self.journals, self.plan_file)
        if copies := (self.backups or Backups(*files)).keep(*files):
            log.info("The old rows are kept in %s.", " and ".join(map(str, copies)))


def _differences(stored: Plan, wanted: Plan, ignore: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Each key whose value differs, as key -> (stored, wanted). None means that the key is missing."""
    wanted = parse_object(encode_json(wanted))  # in the form that the file has: tuples as lists
    keys = sorted((stored.keys() | wanted.keys()) - set(ignore))
    return {key: (stored.get(key), wanted.get(key)) for key in keys if stored.get(key) != wanted.get(key)}
