"""When a process gives up on a group that goes on without it."""

from streams.agents import triage
from streams.delivery.membership import LOST_TIMES, LOST_WITHIN_S, Membership
from streams.settings import Settings
from streams.workers import AGENTS


def after(*joins: tuple[str, float]) -> Membership:
    """After it was given partitions as these members, at these instants."""
    membership = Membership()
    for member_id, now in joins:
        membership = membership.joined(member_id, now)
    return membership


def test_rebalances_under_one_id_lose_nothing() -> None:
    assert after(*(("m", float(n)) for n in range(100))).lost_at == ()


def test_a_new_id_is_a_membership_that_was_lost() -> None:
    assert after(("a", 0.0), ("b", 10.0), ("b", 11.0)).lost_at == (10.0,)


def test_the_first_id_is_no_loss() -> None:
    assert after(("a", 0.0)).lost_at == ()


def test_losing_it_again_and_again_is_hopeless() -> None:
    joins = [(f"m{n}", float(n)) for n in range(LOST_TIMES + 1)]
    assert after(*joins).is_hopeless
    assert not after(*joins[:-1]).is_hopeless


def test_losses_far_apart_are_none_to_give_up_for() -> None:
    assert not after(*((f"m{n}", n * LOST_WITHIN_S) for n in range(20))).is_hopeless


def test_triage_has_read_its_model_before_it_joins_its_group() -> None:
    triage._model.cache_clear()
    AGENTS["triage"](Settings())
    assert triage._model.cache_info().currsize == 1
