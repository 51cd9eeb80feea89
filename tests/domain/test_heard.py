"""How far accounts have been heard, and which reference data hold when."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.domain import heard
from streams.domain.events import AccountClock, ReadThrough, Reference, ResponseTargets, SourcePosition
from streams.domain.heard import Heard, Positions, clock_step
from streams.domain.history import References
from streams.domain.reference import SHIPPED
from tests.domain.histories import START, at

ACCOUNTS = ("desk", "shop")


def announce(hours: float, *positions: tuple[str, int, int], account: str = "shop", live: bool = False) -> ReadThrough:
    return ReadThrough(
        account=account,
        through_at=at(hours),
        live=live,
        live_from=at(hours) if live else None,
        published_at=START,
        positions=tuple(SourcePosition(topic=t, partition=p, offset=o) for t, p, o in positions),
    )


def clocks(state: Heard) -> dict[str, AccountClock]:
    return {clock.account: clock for clock in state.tick(START).accounts}


def test_an_announcement_counts_once_all_its_positions_are_passed() -> None:
    state = Heard().hear(announce(5, ("order", 0, 10), ("parcel", 1, 3)))
    for passed in ({}, {("order", 0): 10}, {("order", 0): 10, ("parcel", 1): 2}):
        assert clocks(state.pass_through(passed)) == {}
    after = state.pass_through({("order", 0): 10, ("parcel", 1): 4})
    assert clocks(after)["shop"].heard_until == at(5)
    assert after.waiting == {}


def test_an_announcement_without_positions_counts_at_once() -> None:
    assert clocks(Heard().hear(announce(5)).pass_through({}))["shop"].heard_until == at(5)


def test_accounts_wait_for_themselves_only() -> None:
    state = Heard().hear(announce(5, ("order", 0, 10))).hear(announce(7, account="desk"))
    assert set(clocks(state.pass_through({}))) == {"desk"}


def test_an_account_that_was_live_stays_live_from_the_first_instant_on() -> None:
    state = Heard().hear(announce(5, live=True)).hear(announce(9, live=True)).hear(announce(10)).pass_through({})
    clock = clocks(state)["shop"]
    assert (clock.live, clock.live_from, clock.heard_until) == (True, at(5), at(10))


def test_of_too_many_waiting_announcements_the_newest_takes_the_place_of_the_one_before() -> None:
    state = Heard()
    for number in range(heard.MAX_WAITING + 5):
        state = state.hear(announce(number, ("order", 0, number)))
    kept = [a.positions[0].offset for a in state.waiting["shop"]]
    assert kept == [*range(heard.MAX_WAITING - 1), heard.MAX_WAITING + 4]


def test_an_account_is_heard_though_correlate_is_always_behind() -> None:
    state, behind = Heard(), heard.MAX_WAITING + 50
    for number in range(10 * behind):
        state = state.hear(announce(number, ("order", 0, number))).pass_through({("order", 0): number - behind})
    assert clocks(state)["shop"].heard_until >= at(8 * behind)


ANNOUNCEMENTS = st.builds(
    lambda hours, offset, account, live: announce(hours, ("order", 0, offset), account=account, live=live),
    st.integers(0, 20),
    st.integers(0, 20),
    st.sampled_from(ACCOUNTS),
    st.booleans(),
)


@given(st.lists(st.one_of(ANNOUNCEMENTS, st.integers(0, 20)), max_size=20))
def test_what_was_heard_is_the_furthest_announcement_passed_and_never_goes_back(steps: list[ReadThrough | int]) -> None:
    state, passed, announced = Heard(), 0, list[ReadThrough]()
    counted: set[int] = set()
    former: dict[str, AccountClock] = {}
    for step in steps:
        if isinstance(step, int):
            passed = max(passed, step)
            positions: Positions = {("order", 0): passed}
            state = state.pass_through(positions)
            counted |= {n for n, a in enumerate(announced) if a.positions[0].offset <= passed}
        else:
            announced.append(step)
            state = state.hear(step)
        now = clocks(state)
        for account in ACCOUNTS:
            through = [announced[n].through_at for n in counted if announced[n].account == account]
            assert (now[account].heard_until if account in now else None) == max(through, default=None)
            if account in former:
                assert now[account].heard_until >= former[account].heard_until
                assert now[account].live >= former[account].live
        former = now


def test_a_jump_of_the_wall_clock_is_what_the_time_since_boot_does_not_explain() -> None:
    assert clock_step((1000.0, 50.0), (1010.0, 60.0)) == 0
    assert clock_step((1000.0, 50.0), (4600.0, 60.0)) == 3590
    assert clock_step((1000.0, 50.0), (990.0, 60.0)) == -20


# ---- reference data


def version(number: int, effective_at: datetime | None, first_response_s: int) -> Reference:
    return Reference(
        name="response_targets",
        version=number,
        effective_at=effective_at,
        published_at=START,
        published_by="lead",
        reason="test",
        body=ResponseTargets(first_response_s=first_response_s, resolution_s=1),
    )


def test_the_newest_version_in_force_at_the_instant_holds() -> None:
    references = SHIPPED.with_version(version(3, at(20), 30)).with_version(version(2, at(10), 20))
    moment = timedelta(microseconds=1)
    instants = [at(10) - moment, at(10), at(20) - moment, at(20)]
    assert [references.targets_at(instant)[0] for instant in instants] == [1, 2, 2, 3]
    assert references.targets_at(at(15))[1].first_response_s == 20


@given(st.permutations([version(2, at(10), 20), version(3, at(20), 30), version(4, at(15), 40)]))
def test_versions_are_the_same_in_whatever_order_they_come(versions: list[Reference]) -> None:
    references: References = SHIPPED
    for reference in [*versions, *versions]:
        references = references.with_version(reference)
    assert [known.version for known in references.response_targets] == [1, 2, 3, 4]


def test_a_version_that_is_known_is_not_changed() -> None:
    references = SHIPPED.with_version(version(1, at(0), 5))
    assert references == SHIPPED


def test_a_tick_says_up_to_when_what_nothing_came_to_is_archived() -> None:
    assert Heard().tick(START, timedelta(days=400)).archive_until == START - timedelta(days=400)
    assert Heard().tick(START).archive_until is None
