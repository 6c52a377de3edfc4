import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from gflowvlm.policy.past import SPARE, Past, RoomyLayer


def columns(count: int) -> tuple[Tensor, Tensor]:
    """New keys and values of 2 rows, 3 heads and head size 4."""
    return torch.randn(2, 3, count, 4), torch.randn(2, 3, count, 4)


@torch.no_grad()
def test_a_layer_grows_as_its_parent_does_without_copying() -> None:
    ours, theirs, places = RoomyLayer(), DynamicLayer(), set[int]()
    for count in (5, 1, 3, SPARE - 4, 1, 2 * SPARE, 1):
        new = columns(count)
        for held, expected in zip(ours.update(*new), theirs.update(*new), strict=True):
            torch.testing.assert_close(held, expected, rtol=0, atol=0)
        assert ours.keys is not None
        places.add(ours.keys.data_ptr())
    assert len(places) == 3  # at first, once the spare columns were used up, and again


@torch.no_grad()
def test_a_fork_and_its_origin_grow_apart() -> None:
    past = Past.empty(2, torch.device("cpu"))
    cache: DynamicCache = past.cache
    cache.update(*columns(6), 0)
    past.mask = torch.ones(2, 6, dtype=torch.long)
    fork = past.fork([1, 0])
    own, other = columns(2), columns(2)
    grown, _ = cache.update(*own, 0)
    apart, _ = fork.cache.update(*other, 0)
    torch.testing.assert_close(grown[:, :, 6:], own[0], rtol=0, atol=0)
    torch.testing.assert_close(apart[:, :, 6:], other[0], rtol=0, atol=0)
    torch.testing.assert_close(apart[:, :, :6], grown[[1, 0], :, :6], rtol=0, atol=0)


def test_where_gradients_flow_nothing_is_written_over() -> None:
    layer = RoomyLayer()
    keys, values = columns(3)
    held, _ = layer.update(keys.requires_grad_(), values)
    attended = (held * held).sum()
    longer, _ = layer.update(*columns(2))
    (attended + longer.sum()).backward()
    torch.testing.assert_close(keys.grad, 2 * keys.detach() + 1)
