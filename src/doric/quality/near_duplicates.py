"""Is this answer nearly one we have: an index whose cost per row stays nearly flat up to a million rows.

First the folded text itself, then MinHash over four-byte grams to find the few rows that could be alike, then the
similarity of those alone: 2 * LCS / (len a + len b), which is rapidfuzz's `ratio`. Characters, not words, because
Doric spells one word in many ways. Knows no Doric; the same answers with rapidfuzz and without it.
"""

import mmap
import struct
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from doric.core.errors import missing_package
from doric.core.text import fold

try:
    from rensa import RMinHash  # ty: ignore[missing-module-member]  # compiled, without stubs
except ImportError as error:
    raise missing_package(error) from error

try:
    from rapidfuzz import process
    from rapidfuzz.distance import Indel
except ImportError:
    process = None

# Two texts 0.9 alike share half of their grams if letters differ here and there, two thirds if a sentence does;
# unrelated ones share a twentieth. 64 bands of 5 find 0.87, 0.9998 and 0.00002 of such pairs.
BANDS = 64
ROWS_PER_BAND = 5
SEED = 42
SLOTS = 2**25  # 128 MB once a few thousand rows are in; half as many double the cost of a look-up among a million
_SLOT = SLOTS - 1
_NODE = 2**32 - 1
_CHECK = _NODE << 32


@dataclass(frozen=True)
class Match:
    """The stored row that is most alike: its id, and the similarity from the threshold to 1."""

    id: str
    similarity: float


class NearDuplicateIndex:
    """Folded texts by id. `nearest` before `add` of the same text shares the work."""

    def __init__(self, threshold: float = 0.9) -> None:
        self.threshold = threshold
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._lengths = array("I")
        self._exact: dict[str, int] = {}
        self._bands = Bands()
        self._latest: tuple[str, str, list[int]] = ("", "", signature(""))

    def __len__(self) -> int:
        return len(self._ids)

    def nearest(self, text: str) -> Match | None:
        """The most alike stored text at or above the threshold, the first of equals; None when there is none."""
        folded, hashes = self._read(text)
        if (row := self._exact.get(folded)) is not None:
            return Match(self._ids[row], 1.0)
        rows = self._rows(folded, hashes)
        if not rows:
            return None
        found = most_similar(folded, [self._texts[row] for row in rows], self.threshold)
        return None if found is None else Match(self._ids[rows[found[0]]], found[1])

    def add(self, id: str, text: str) -> None:
        """Store a text; one that folds to a stored text is already there and changes nothing."""
        folded, hashes = self._read(text)
        if folded in self._exact:
            return
        self._exact[folded] = len(self._ids)
        self._bands.add(len(self._ids), hashes)
        self._ids.append(id)
        self._texts.append(folded)
        self._lengths.append(len(folded))

    def candidates(self, text: str) -> list[str]:
        """The ids, in order of adding, of the rows that `nearest` compares `text` with unless it finds it as it is."""
        return [self._ids[row] for row in self._rows(*self._read(text))]

    def _rows(self, folded: str, hashes: list[int]) -> list[int]:
        # No text can be alike enough that is too short or too long; this spares a look at half of the texts.
        least = (self.threshold - 1e-6) / (2 - self.threshold)
        low, high, lengths = len(folded) * least, len(folded) / least, self._lengths
        return sorted(row for row in self._bands.query(hashes) if low <= lengths[row] <= high)

    def _read(self, text: str) -> tuple[str, list[int]]:
        if self._latest[0] != text:
            folded = fold(text)
            self._latest = (text, folded, signature(folded))
        return self._latest[1:]


class Bands:
    """Rows by band of their signature: chains of nodes in one array, their heads in a table of fixed size.

    A node is 64 bits, the upper half of the band's hash above the number of the next node, so a row costs eight
    bytes a band; Python's dicts, and rensa's own index, cost fifteen times that.
    """

    def __init__(self) -> None:
        # Anonymous memory costs nothing until it is touched, so that a small index stays small.
        self._heads = memoryview(mmap.mmap(-1, SLOTS * 4)).cast("I")
        self._nodes = array("Q", [0] * BANDS)  # node 0 ends a chain, so row 0 begins at node BANDS

    def add(self, row: int, hashes: Iterable[int]) -> None:
        """Store the band hashes of `row`; rows are added in order from 0."""
        heads, append, node = self._heads, self._nodes.append, (row + 1) * BANDS
        for hashed in hashes:
            slot = hashed & _SLOT
            append(hashed & _CHECK | heads[slot])
            heads[slot] = node
            node += 1

    def query(self, hashes: Iterable[int]) -> set[int]:
        """The rows that share a band with these hashes."""
        heads, nodes, rows = self._heads, self._nodes, set[int]()
        for hashed in hashes:
            node = heads[hashed & _SLOT]
            while node:
                entry = nodes[node]
                if not (entry ^ hashed) & _CHECK:
                    rows.add(node // BANDS - 1)
                node = entry & _NODE
        return rows


def signature(folded: str) -> list[int]:
    """One hash a band, the same in every process."""
    minhash = RMinHash(num_perm=BANDS * ROWS_PER_BAND, seed=SEED)
    minhash.update(grams(folded))
    digest = iter(minhash.digest())
    return list(map(hash, zip(*[digest] * ROWS_PER_BAND, strict=True)))


def grams(folded: str) -> tuple[bytes, ...]:
    """Every run of four bytes, three blanks standing before and after the text.

    Cut by one unpacking of the text laid four times end to end, each time a byte further on: slicing costs five times
    as much.
    """
    padded = b"   %b      " % folded.encode(errors="surrogatepass")
    length = (len(padded) - 3) // 4 * 4
    return _cutter(length)(b"".join([padded[start : start + length] for start in range(4)]))


@lru_cache(maxsize=1024)
def _cutter(length: int) -> Callable[[bytes], tuple[bytes, ...]]:
    return struct.Struct("4s" * length).unpack


def most_similar(text: str, others: list[str], threshold: float) -> tuple[int, float] | None:
    """(place, similarity) of the other text most alike, the first of equals; None when none reaches the threshold."""
    if process is None:
        return most_similar_plain(text, others, threshold)
    # A hair below the threshold, for rapidfuzz rounds a cutoff to whole edits in its own way.
    found = process.extractOne(text, others, scorer=Indel.normalized_similarity, score_cutoff=threshold - 1e-6)
    return None if found is None or found[1] < threshold else (found[2], found[1])


def most_similar_plain(text: str, others: list[str], threshold: float) -> tuple[int, float] | None:
    """`most_similar` without rapidfuzz."""
    best, place = threshold, -1
    for index, other in enumerate(others):
        total = len(text) + len(other)
        if 1 - abs(len(text) - len(other)) / total < best:
            continue
        similarity = 1 - (total - 2 * common_length(text, other)) / total
        if similarity > best or (place < 0 and similarity == best):
            best, place = similarity, index
    return None if place < 0 else (place, best)


def common_length(a: str, b: str) -> int:
    """The length of the longest common subsequence, one big-integer step a character of `b`.

    >>> common_length("fit like", "foo like")
    6
    """
    where: dict[str, int] = {}
    for place, char in enumerate(a):
        where[char] = where.get(char, 0) | 1 << place
    everywhere = (1 << len(a)) - 1
    unmatched = everywhere
    for char in b:
        matches = unmatched & where.get(char, 0)
        unmatched = (unmatched + matches | unmatched - matches) & everywhere
    return len(a) - unmatched.bit_count()
