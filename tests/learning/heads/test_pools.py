import pytest
import torch

from tenuto.learning import heads

FRAMES = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, -100.0]], [[5.0, 5.0], [7.0, 1.0], [9.0, 0.0]]])
MASK = torch.tensor([[True, True, False], [True, True, True]])
NAMES = ("own", "mean", "max", "statistics", "attention", "gru", "lstm")


def test_the_mean_is_of_what_was_heard() -> None:
    pool = heads.pool("mean", 2, 0)
    torch.testing.assert_close(pool(FRAMES, MASK), torch.tensor([[2.0, 4.0], [7.0, 2.0]]))
    torch.testing.assert_close(pool(FRAMES)[0], torch.tensor([104 / 3, -92 / 3]))


def test_the_maximum_is_of_what_was_heard() -> None:
    pool = heads.pool("max", 2, 0)
    torch.testing.assert_close(pool(FRAMES, MASK), torch.tensor([[3.0, 6.0], [9.0, 5.0]]))
    torch.testing.assert_close(pool(FRAMES)[0], torch.tensor([100.0, 6.0]))


def test_statistics_are_mean_and_standard_deviation() -> None:
    found = heads.pool("statistics", 2, 0)(FRAMES, MASK)
    torch.testing.assert_close(found[0], torch.tensor([2.0, 4.0, 1.0, 2.0]))
    torch.testing.assert_close(found[1], torch.tensor([7.0, 2.0, (8 / 3) ** 0.5, (14 / 3) ** 0.5]))


def test_the_slope_of_the_deviation_of_equal_frames_is_finite() -> None:
    frames = torch.ones(1, 3, 2, requires_grad=True)
    heads.pool("statistics", 2, 0)(frames).sum().backward()
    assert torch.isfinite(frames.grad).all()


@pytest.mark.parametrize("name", ["own", "attention", "gru", "lstm"])
def test_a_learned_pool_starts_as_the_mean(name: str) -> None:
    pool = heads.pool(name, 2, 5)
    torch.testing.assert_close(pool(FRAMES, MASK), torch.tensor([[2.0, 4.0], [7.0, 2.0]]))
    torch.testing.assert_close(pool(FRAMES), FRAMES.mean(dim=1))


def test_attention_weighs_frames_by_the_softmax_of_their_scores() -> None:
    pool = heads.AttentionPool(2, 1)
    with torch.no_grad():
        pool.hidden.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.hidden.bias.zero_()
        pool.score.weight.fill_(2.0)
    frames = torch.tensor([[[0.0, 4.0], [torch.atanh(torch.tensor(0.5)), 8.0]]])  # scores 0 and 1
    share = torch.e / (1 + torch.e)
    torch.testing.assert_close(pool(frames)[0, 1], torch.tensor(4 * (1 - share) + 8 * share))


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_wherever_it_lies(name: str) -> None:
    torch.manual_seed(0)
    pool = heads.pool(name, 3, 4)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter)
    clip = torch.randn(1, 4, 3)
    gap = torch.full((1, 2, 3), 50.0)
    padded = torch.cat([gap, clip[:, :1], gap, clip[:, 1:], gap], dim=1)
    mask = padded[:, :, 0] != 50
    beside = torch.randn(1, 10, 3)  # a longer clip in the same batch
    both = pool(torch.cat([padded, beside]), torch.cat([mask, torch.ones_like(mask)]))
    torch.testing.assert_close(both[:1], pool(clip))
    torch.testing.assert_close(both[1:], pool(beside))


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_in_which_nothing_was_heard_counts_whole(name: str) -> None:
    torch.manual_seed(0)
    pool = heads.pool(name, 2, 4)
    torch.testing.assert_close(pool(FRAMES, torch.zeros_like(MASK)), pool(FRAMES))


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_recurrent_pool_hears_the_order_of_frames(name: str) -> None:
    torch.manual_seed(0)
    pool = heads.pool(name, 2, 4)
    torch.nn.init.normal_(pool.projection.weight)
    assert (pool(FRAMES) - pool(FRAMES.flip(1))).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_says_how_wide_its_vector_is(name: str) -> None:
    pool = heads.pool(name, 2, 4)
    assert pool(FRAMES).shape == (2, pool.width)
