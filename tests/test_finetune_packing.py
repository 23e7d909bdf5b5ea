"""Packing loses no token, and packed rows do not see each other."""

import pytest

from doric.core.errors import DoricError
from doric.finetune.masking import Encoded
from doric.finetune.packing import check_leak, check_packing, leak, packed, packed_batch

pytestmark = pytest.mark.usefixtures("finetune_group")


def test_packed_rows_do_not_see_each_other(tokenizer, tiny):
    """In a batch of the trainer, the model predicts the same for a packed row as for a separate row."""
    found = leak(tiny, packed_batch(tokenizer, "trl"), [5, 6, 7, 8], [9, 10, 11, 12], [20, 21, 22])
    check_leak(found)
    assert found["change"] < 1e-4


def test_leaking_pack_stops_the_run(tiny):
    """If one attention mask covers the whole pack, a row can see the row before it, and the run stops."""
    import torch

    def one_mask(parts):
        ids = torch.tensor([[token for part in parts for token in part]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    found = leak(tiny, one_mask, [5, 6, 7, 8], [9, 10, 11, 12], [20, 21, 22])
    with pytest.raises(DoricError, match="see each other") as caught:
        check_leak(found)
    assert "PACKING to off" in caught.value.hint


def test_packing_loses_no_token():
    """Packing keeps every token, and the run stops if a token is lost."""
    coded = [Encoded(list(range(size)), list(range(size))) for size in (5, 9, 30, 12, 7, 21)]
    packs = packed(coded, 32)
    assert max(map(sum, packs)) <= 32
    check_packing(coded, packs)
    with pytest.raises(DoricError, match="lost"):
        check_packing(coded, packs[1:])
