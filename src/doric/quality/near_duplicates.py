"""Finds answers that are nearly the same as an earlier one.

A lookup first looks for an equal text (folded). Then it uses MinHash over four-byte grams to find the few stored texts
that could be similar, and computes the similarity only for these: 2 * LCS / (len a + len b), which is rapidfuzz's
`ratio`. It compares characters and not words, because Doric has many spellings of one word. The results are the same
with and without rapidfuzz.
"""

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

# Two texts with a similarity of 0.9 share half of their grams if single letters differ, and two thirds if a sentence
# differs. Unrelated texts share a twentieth. 64 bands of 5 rows find 0.87, 0.9998 and 0.00002 of these pairs.
BANDS = 64
ROWS_PER_BAND = 5
SEED = 42
FIRST_SLOTS = 2**18
"""Slots of a new table: 1 MB, enough for 8,000 texts."""
MAX_LOAD, GROWTH = 2, 4
"""Nodes per slot at which the table grows, and how many times larger it becomes."""


@dataclass(frozen=True)
class Match:
    """The id of the most similar stored text, and the similarity, from the threshold to 1."""

    id: str
    similarity: float


class NearDuplicateIndex:
    """Stored texts that can be searched by similarity.

    If `add` is called with the same text directly after `nearest`, the hash is computed only once.

    A stored text takes about 1 KB. With a hundred thousand texts a lookup takes about twice as long as with a thousand.
    """

    def __init__(self, threshold: float = 0.9) -> None:
        self.threshold = threshold
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._lengths = array("I")
        self._exact: dict[str, int] = {}
        self._bands = BandTable()
        self._latest: tuple[str, str, list[int]] = ("", "", signature(""))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def texts(self) -> tuple[str, ...]:
        """The stored texts, folded, in the order in which they were added."""
        return tuple(self._texts)

    def nearest(self, text: str) -> Match | None:
        """The most similar stored text at or above the threshold, or None. Of equally similar texts, the first."""
        folded, hashes = self._read(text)
        if (row := self._exact.get(folded)) is not None:
            return Match(self._ids[row], 1.0)
        rows = self._rows(folded, hashes)
        if not rows:
            return None
        found = most_similar(folded, [self._texts[row] for row in rows], self.threshold)
        return None if found is None else Match(self._ids[rows[found[0]]], found[1])

    def add(self, id: str, text: str) -> None:
        """Store a text. Does nothing if a stored text is equal after folding."""
        folded, hashes = self._read(text)
        if folded in self._exact:
            return
        row = self._exact[folded] = len(self._ids)
        self._ids.append(id)
        self._texts.append(folded)
        self._lengths.append(len(folded))
        self._bands.add(row, hashes)

    def candidates(self, text: str) -> list[str]:
        """The ids of the stored texts that `nearest` compares with `text`, in the order in which they were added."""
        return [self._ids[row] for row in self._rows(*self._read(text))]

    def _rows(self, folded: str, hashes: list[int]) -> list[int]:
        """The stored texts that share a band, without texts that are too short or too long to reach the threshold."""
        least = (self.threshold - 1e-6) / (2 - self.threshold)
        low, high, lengths = len(folded) * least, len(folded) / least, self._lengths
        return sorted(row for row in self._bands.find(hashes) if low <= lengths[row] <= high)

    def _read(self, text: str) -> tuple[str, list[int]]:
        if self._latest[0] != text:
            folded = fold(text)
            self._latest = (text, folded, signature(folded))
        return self._latest[1:]


class BandTable:
    """A hash table from band hashes to the numbers of the texts that have them. It grows with the texts.

    The band hashes of one slot are a chain of nodes: text `t` and band `b` have node `(t + 1) * BANDS + b`. A dict of
    band hashes takes seven times the memory.
    """

    def __init__(self) -> None:
        self._first = array("I", [0]) * FIRST_SLOTS  # the first node of each slot, 0 if there is none
        self._hashes = array("q", [0]) * BANDS  # by node
        self._next = array("I", [0]) * BANDS  # by node: the next node of the chain, 0 at its end

    def add(self, text: int, hashes: Iterable[int]) -> None:
        """Store the band hashes of a text. Texts are added in order, from 0."""
        if len(self._next) > MAX_LOAD * len(self._first):
            self._grow()
        self._hashes.extend(hashes)
        first, append, mask = self._first, self._next.append, len(self._first) - 1
        for node, band_hash in enumerate(hashes, (text + 1) * BANDS):
            slot = band_hash & mask
            append(first[slot])
            first[slot] = node

    def find(self, hashes: Iterable[int]) -> set[int]:
        """The texts that have at least one of these band hashes."""
        first, stored, following, texts = self._first, self._hashes, self._next, set[int]()
        mask = len(first) - 1
        for band_hash in hashes:
            node = first[band_hash & mask]
            while node:
                if stored[node] == band_hash:
                    texts.add(node // BANDS - 1)
                node = following[node]
        return texts

    def _grow(self) -> None:
        """Make the table larger and build all chains again. The steps are so large that this is rare."""
        self._first = first = array("I", [0]) * (GROWTH * len(self._first))
        following, mask = self._next, len(first) - 1
        for node in range(BANDS, len(following)):
            slot = self._hashes[node] & mask
            following[node] = first[slot]
            first[slot] = node


def signature(folded: str) -> list[int]:
    """The MinHash of a text as one 64-bit hash per band. It is the same in every process."""
    minhash = RMinHash(num_perm=BANDS * ROWS_PER_BAND, seed=SEED)
    minhash.update(grams(folded))
    digest = iter(minhash.digest())
    return list(map(hash, zip(*[digest] * ROWS_PER_BAND, strict=True)))


def grams(folded: str) -> tuple[bytes, ...]:
    """Every sequence of four bytes of the text, which is padded with three blanks at each end.

    The text is repeated four times, each time starting one byte later, and one call of `unpack` splits it. Slicing
    would take five times as long.
    """
    padded = b"   %b      " % folded.encode(errors="surrogatepass")
    length = (len(padded) - 3) // 4 * 4
    return _cutter(length)(b"".join([padded[start : start + length] for start in range(4)]))


@lru_cache(maxsize=1024)
def _cutter(length: int) -> Callable[[bytes], tuple[bytes, ...]]:
    return struct.Struct("4s" * length).unpack


def most_similar(text: str, others: list[str], threshold: float) -> tuple[int, float] | None:
    """(index, similarity) of the most similar text, the first of equals; None if all are below `threshold`."""
    if process is None:
        return most_similar_plain(text, others, threshold)
    # A little below the threshold, because rapidfuzz rounds the cutoff to whole edits differently.
    found = process.extractOne(text, others, scorer=Indel.normalized_similarity, score_cutoff=threshold - 1e-6)
    return None if found is None or found[1] < threshold else (found[2], found[1])


def most_similar_plain(text: str, others: list[str], threshold: float) -> tuple[int, float] | None:
    """`most_similar` without rapidfuzz."""
    best, found = threshold, -1
    for index, other in enumerate(others):
        total = len(text) + len(other)
        if 1 - abs(len(text) - len(other)) / total < best:
            continue
        similarity = 1 - (total - 2 * common_length(text, other)) / total
        if similarity > best or (found < 0 and similarity == best):
            best, found = similarity, index
    return None if found < 0 else (found, best)


def common_length(a: str, b: str) -> int:
    """The length of the longest common subsequence, by bit-parallel dynamic programming (Hyyrö 2004).

    >>> common_length("fit like", "foo like")
    6
    """
    where: dict[str, int] = {}
    for at, char in enumerate(a):
        where[char] = where.get(char, 0) | 1 << at
    everywhere = (1 << len(a)) - 1
    unmatched = everywhere
    for char in b:
        matches = unmatched & where.get(char, 0)
        unmatched = (unmatched + matches | unmatched - matches) & everywhere
    return len(a) - unmatched.bit_count()
