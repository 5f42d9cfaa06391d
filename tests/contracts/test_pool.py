"""What every pool must keep, wherever it keeps it, and what the file of this machine adds."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.limits.account import account_id
from batchdeck.limits.pool import (
    EXPIRY,
    METERS,
    Ask,
    Grant,
    MemoryAccount,
    MemoryPool,
    PoolUnavailable,
    QuotaPool,
)
from batchdeck.limits.shared import SharedPool
from batchdeck.model import Meter

HOUR = 3_600.0
LEASE = 0.25
HUNGRY: dict[Meter, float] = dict.fromkeys(METERS, math.inf)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["lease", "lease", "lease", "leave", "heavier"]),
        st.sampled_from([0.0, 30.0, 200.0, math.inf]),
        st.sampled_from([0.0, 0.01, LEASE, 1.0, 1.99, 2.5]),
    ),
    max_size=60,
)


class World:
    """One account and its clock; each pool in it is a run."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pools: list[QuotaPool] = []

    def pool(self, priority: int = 1, account: str = "ours") -> QuotaPool:
        pool = self.make(priority, account)
        self.pools.append(pool)
        return pool

    def make(self, priority: int, account: str) -> QuotaPool:
        raise NotImplementedError

    def close(self) -> None:
        for pool in self.pools:
            pool.close()


class InMemory(World):
    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, MemoryAccount] = {}

    def make(self, priority: int, account: str) -> QuotaPool:
        return MemoryPool(self.accounts.setdefault(account, MemoryAccount(lambda: self.now)), priority)


class InFile(World):
    """Wall time is told to be ten years on: nothing may mix it up with the clock."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.boot = "this"

    def make(self, priority: int, account: str) -> SharedPool:
        return SharedPool(
            self.path,
            account,
            priority=priority,
            wall=lambda: self.now + 10 * 365 * 24 * HOUR,
            clock=lambda: self.now,
            boot=self.boot,
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quota.db"


@pytest.fixture
def filed(path: Path) -> Iterator[InFile]:
    with contextlib.closing(InFile(path)) as world:
        yield world


@pytest.fixture(params=["memory", "file"])
def world(request: pytest.FixtureRequest, path: Path) -> Iterator[World]:
    with contextlib.closing(InMemory() if request.param == "memory" else InFile(path)) as world:
        yield world


def ask(wanted: float | None = None, *, used: float = 0.0, hold: float = 0.0, pace: float | None = None,
        **limits: float) -> Ask:  # fmt: skip
    """Wants all there is, or so many requests a minute."""
    demand = HUNGRY if wanted is None else {**HUNGRY, "requests": wanted}
    known: dict[Meter, float] = {meter: limits[meter] for meter in METERS if meter in limits}
    return Ask(demand=demand, used={"requests": used}, limits=known, hold=hold, pace=pace)


def settled(world: World, *asking: tuple[QuotaPool, Ask]) -> list[Grant]:
    """What each gets when all of them go on asking alike."""
    for _ in range(3):
        world.now += LEASE
        grants = [pool.lease(wish) for pool, wish in asking]
    return grants


def shares(grants: list[Grant], meter: Meter = "requests") -> list[float]:
    return [grant.shares[meter] for grant in grants]


# -- what every pool keeps


def test_a_lone_run_has_all_of_everything(world: World) -> None:
    grant = world.pool().lease(ask(5))
    assert grant.shares == dict.fromkeys(METERS, 1.0)
    assert (grant.holders, grant.hold, grant.pace, grant.limits) == (1, 0.0, None, {})


def test_two_that_ask_alike_have_half_each(world: World) -> None:
    grants = settled(world, (world.pool(), ask()), (world.pool(), ask()))
    for grant in grants:
        assert grant.shares == pytest.approx(dict.fromkeys(METERS, 0.5))
        assert grant.holders == 2


def test_priority_divides_and_may_change_at_any_time(world: World) -> None:
    first, second = world.pool(priority=3), world.pool()
    assert shares(settled(world, (first, ask()), (second, ask()))) == pytest.approx([0.75, 0.25])
    first.priority = 1
    assert shares(settled(world, (first, ask()), (second, ask()))) == pytest.approx([0.5, 0.5])


def test_who_wants_little_leaves_the_rest_to_the_other(world: World) -> None:
    grants = settled(world, (world.pool(), ask(50, requests=500)), (world.pool(), ask()))
    assert shares(grants) == pytest.approx([0.11, 0.89])
    assert shares(grants, "tokens") == pytest.approx([0.5, 0.5])


def test_who_wants_more_all_at_once_gets_it_with_the_next_lease_of_the_other(world: World) -> None:
    little, much = world.pool(), world.pool()
    settled(world, (little, ask(50, requests=500)), (much, ask()))
    assert little.lease(ask(requests=500)).shares["requests"] == pytest.approx(0.11)
    assert much.lease(ask()).shares["requests"] == pytest.approx(0.5)
    assert little.lease(ask(requests=500)).shares["requests"] == pytest.approx(0.5)


def test_a_newcomer_waits_for_what_is_out(world: World) -> None:
    first, second = world.pool(), world.pool()
    first.lease(ask())
    assert 0 < second.lease(ask()).shares["requests"] < 1e-6
    assert first.lease(ask()).shares["requests"] == pytest.approx(0.5)
    assert second.lease(ask()).shares["requests"] == pytest.approx(0.5)


def test_a_429_of_one_holds_all_until_its_time_is_over(world: World) -> None:
    first, second = world.pool(), world.pool()
    first.lease(ask(hold=20))
    world.now += 5
    assert second.lease(ask()).hold == pytest.approx(15)
    world.now += 16
    assert second.lease(ask()).hold == 0


def test_a_hold_does_not_grow_by_being_told_on(world: World) -> None:
    first, second = world.pool(), world.pool()
    until = world.now + 20
    first.lease(ask(hold=20))
    while world.now < until - 1:
        # Each heard of it a little before it tells it on.
        first_hold, second_hold = first.lease(ask()).hold, second.lease(ask()).hold
        world.now += 0.03
        first.lease(ask(hold=first_hold))
        second.lease(ask(hold=second_hold))
        world.now += LEASE
    assert second.lease(ask()).hold <= until - world.now + 0.05


def test_a_hold_outlives_the_run_that_met_it(world: World) -> None:
    first = world.pool()
    first.lease(ask(hold=60))
    first.close()
    world.now += 10
    grant = world.pool().lease(ask())
    assert grant.hold == pytest.approx(50)
    assert grant.holders == 1


def test_the_newest_saying_of_a_limit_wins(world: World) -> None:
    first, second = world.pool(), world.pool()
    settled(world, (first, ask(requests=500, tokens=90_000)), (second, ask()))
    grants = settled(world, (first, ask(requests=500, tokens=90_000)), (second, ask(requests=300)))
    assert [grant.limits for grant in grants] == [{"requests": 300, "tokens": 90_000}] * 2
    # Only what is new is news, not what is said again.
    grants = settled(world, (second, ask(requests=300)), (first, ask(requests=800, tokens=90_000)))
    assert grants[0].limits["requests"] == 800


def test_who_repeats_what_it_heard_says_nothing_new(world: World) -> None:
    first, second = world.pool(), world.pool()
    first.lease(ask(requests=500))
    assert second.lease(ask()).limits == {"requests": 500}
    world.now += LEASE
    first.lease(ask(requests=300))
    world.now += LEASE
    assert second.lease(ask(requests=500)).limits == {"requests": 300}
    assert first.lease(ask(requests=300)).limits == {"requests": 300}


def test_a_limit_is_forgotten_with_the_last_run_that_knows_it(world: World) -> None:
    first, second = world.pool(), world.pool()
    settled(world, (first, ask(requests=10, tokens=90_000)), (second, ask(tokens=90_000)))
    first.leave()
    assert second.lease(ask(tokens=90_000)).limits == {"tokens": 90_000}


def test_the_newest_pace_is_everybodys_and_stands_for_the_limit(world: World) -> None:
    first, second = world.pool(), world.pool()
    settled(world, (first, ask(pace=100)), (second, ask(10, pace=80)))
    grants = settled(world, (first, ask(pace=200)), (second, ask(10, pace=80)))
    assert [grant.pace for grant in grants] == [200, 200]
    assert shares(grants) == pytest.approx([0.945, 0.055])


def test_who_leaves_gives_all_back_at_once(world: World) -> None:
    first, second = world.pool(), world.pool()
    settled(world, (first, ask()), (second, ask()))
    first.leave()
    grant = second.lease(ask())
    assert (grant.shares["requests"], grant.holders) == (1.0, 1)


def test_what_a_silent_run_was_granted_counts_as_spent_for_two_seconds(world: World) -> None:
    silent, second = world.pool(), world.pool()
    settled(world, (second, ask()), (silent, ask()))
    silent_since = world.now
    while world.now + LEASE < silent_since + EXPIRY:
        world.now += LEASE
        assert second.lease(ask()).shares["requests"] == pytest.approx(0.5)
    world.now += LEASE
    grant = second.lease(ask())
    assert (grant.shares["requests"], grant.holders) == (1.0, 1)
    # It was not dead after all: it comes back as a newcomer.
    assert silent.lease(ask()).shares["requests"] < 1e-6


def test_what_all_have_used_in_a_day_adds_up(world: World) -> None:
    first, second = world.pool(), world.pool()
    first.lease(ask(used=7))
    second.lease(ask(used=5))
    world.now += 12 * HOUR
    first.lease(ask(used=1))
    assert second.lease(ask()).used_today["requests"] == 13
    first.close()
    world.now += 12.5 * HOUR
    # An hour counts as long as a part of it is within the day.
    assert second.lease(ask()).used_today["requests"] == 13
    world.now += HOUR
    assert second.lease(ask()).used_today["requests"] == 1
    world.now += 12 * HOUR
    assert not second.lease(ask()).used_today.get("requests")


def test_what_is_left_of_a_day_is_divided_and_the_last_request_is_somebodys(world: World) -> None:
    first, second = world.pool(priority=3), world.pool()
    lone = first.lease(ask(requests_day=100))
    assert (lone.left, second.lease(ask()).left) == ({"requests_day": 100}, {"requests_day": 0})
    grants = settled(world, (first, ask(requests_day=100)), (second, ask()))
    assert [grant.left["requests_day"] for grant in grants] == pytest.approx([75, 25])
    used = Ask(demand=HUNGRY, used={"requests_day": 75}, limits={"requests_day": 100})
    assert first.lease(used).left["requests_day"] == 0
    assert second.lease(Ask(demand=HUNGRY, used={"requests_day": 24}, limits={})).left["requests_day"] == 1
    # Whoever has set itself less goes by that.
    assert first.lease(ask(requests_day=90)).left["requests_day"] == 0


@pytest.mark.parametrize("kind", ["memory", "file"])
@settings(max_examples=60, deadline=None)
@given(
    uses=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.3, 1.0, 1.0]), st.booleans()), max_size=40),
    limit=st.sampled_from([1.0, 10.0, 1_000.0]),
)
def test_a_day_is_never_used_more_than_once_and_at_last_all_of_it(
    kind: str, uses: list[tuple[int, float, bool]], limit: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever uses what it was granted, at once or later, before or after the others have told of theirs."""
    file = tmp_path_factory.mktemp("day") / "quota.db"
    with contextlib.closing(InMemory() if kind == "memory" else InFile(file)) as world:
        pools = [world.pool(priority) for priority in (1, 1, 30)]
        left, untold, total = [0.0] * 3, [0.0] * 3, 0.0
        for who, part, leases in [*uses, *[(who, 1.0, True) for who in (0, 1, 2)] * 40]:
            if leases:
                told = Ask(demand=HUNGRY, used={"requests_day": untold[who]}, limits={"requests_day": limit})
                left[who], untold[who] = pools[who].lease(told).left["requests_day"], 0.0
            use = part * left[who]
            left[who] -= use
            untold[who] += use
            total += use
            assert total <= limit * (1 + 1e-9)
        assert total >= 0.99 * limit


def test_accounts_have_nothing_to_do_with_each_other(world: World) -> None:
    ours, theirs = world.pool(), world.pool(account="theirs")
    ours.lease(ask(used=3, hold=20, requests=500, pace=80))
    assert theirs.lease(ask()) == Grant(
        shares=dict.fromkeys(METERS, 1.0),
        limits={},
        hold=0.0,
        pace=None,
        holders=1,
        used_today=theirs.lease(ask()).used_today,
    )
    assert not theirs.lease(ask()).used_today.get("requests")


@pytest.mark.parametrize("kind", ["memory", "file"])
@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_what_is_out_at_one_time_is_never_more_than_the_limit(
    kind: str, changes: list[tuple[int, str, float, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever comes, asks, leaves, is silent or comes back."""
    file = tmp_path_factory.mktemp("out") / "quota.db"
    with contextlib.closing(InMemory() if kind == "memory" else InFile(file)) as world:
        pools = [world.pool(priority) for priority in (1, 1, 3, 100)]
        out: dict[int, tuple[float, Grant]] = {}
        for who, change, demand, seconds in changes:
            world.now += seconds
            if change == "leave":
                pools[who].leave()
                out.pop(who, None)
                continue
            if change == "heavier":
                pools[who].priority = pools[who].priority % 100 + 1
            out[who] = (world.now, pools[who].lease(ask(demand, requests=500)))
            valid = [grant for at, grant in out.values() if world.now < at + EXPIRY]
            assert out[who][1].holders == len(valid)
            for meter in METERS:
                assert all(0 < share <= 1 for share in shares(valid, meter))
                assert sum(shares(valid, meter)) <= 1 + 1e-6


# -- what the file adds


def test_the_file_belongs_to_its_user_alone(filed: InFile, path: Path) -> None:
    filed.pool().lease(ask())
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.glob("quota.db*")} == {
        "quota.db": "0o600",
        "quota.db-journal": "0o600",
    }


def test_what_was_before_the_machine_was_started_anew_is_void(filed: InFile) -> None:
    before = filed.pool()
    before.lease(ask(used=4, hold=600, requests=10))
    filed.boot, filed.now = "next", filed.now + 1
    grant = filed.pool().lease(ask())
    assert (grant.holders, grant.hold, grant.limits, grant.shares["requests"]) == (1, 0.0, {}, 1.0)


def test_a_file_that_is_busy_leaves_the_last_grant_then_an_even_part(filed: InFile, path: Path) -> None:
    first, second = filed.pool(priority=3), filed.pool()
    settled(filed, (second, ask()), (first, ask(hold=60)))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as stuck:
        stuck.execute("BEGIN IMMEDIATE")
        filed.now += LEASE
        grant = first.lease(ask(used=2))
        assert grant.shares["requests"] == pytest.approx(0.75)
        assert grant.hold == pytest.approx(59.75)
        filed.now += EXPIRY
        assert first.lease(ask(used=3)).shares["requests"] == 0.5
        stuck.execute("ROLLBACK")
    grant = first.lease(ask(used=4))
    assert (grant.shares["requests"], grant.used_today["requests"]) == (1.0, 9)


@pytest.mark.parametrize("ruin", ["garbage", "gone", "emptied"])
def test_a_file_that_is_ruined_while_in_use_is_made_anew(ruin: str, filed: InFile, path: Path) -> None:
    first, second = filed.pool(), filed.pool()
    settled(filed, (first, ask()), (second, ask()))
    ruined(path, ruin)
    assert shares(settled(filed, (first, ask()), (second, ask()))) == pytest.approx([0.5, 0.5])
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_ruined_again_and_again_costs_the_sharing_not_the_run(filed: InFile, path: Path) -> None:
    first, second = filed.pool(), filed.pool()
    for _ in range(3):
        settled(filed, (first, ask()), (second, ask()))
        ruined(path, "garbage")
    grants = settled(filed, (first, ask()), (second, ask()))
    assert shares(grants) == pytest.approx([0.5, 0.5])
    filed.now += EXPIRY
    assert shares([first.lease(ask()), second.lease(ask())]) == [0.5, 0.5]
    # Somebody deletes it: the runs that are there meet again.
    path.unlink()
    first.leave()
    assert shares(settled(filed, (second, ask()))) == [1.0]


def ruined(path: Path, how: str) -> None:
    match how:
        case "garbage":
            path.write_bytes(b"not a database, whoever wrote it " * 300)
        case "gone":
            path.unlink()
        case "emptied":
            path.write_bytes(b"")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("garbage", "file is not a database; delete it"),
        ("folder", "unable to open database file"),
        ("nowhere", "cannot be made: No such file or directory"),
        ("another", "is not a file of batchdeck; move it away"),
        ("newer", r"is of another version of batchdeck \(2\); move it away"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_in_one_line(wrong: str, message: str, filed: InFile, path: Path) -> None:
    match wrong:
        case "garbage":
            ruined(path, wrong)
        case "folder":
            path.mkdir()
        case "nowhere":
            filed.path = path.parent / "missing" / "quota.db"
        case "another" | "newer":
            if wrong == "newer":
                filed.pool()
            with contextlib.closing(sqlite3.connect(path)) as file:
                file.execute("PRAGMA user_version = 2" if wrong == "newer" else "CREATE TABLE letters (text)")
    with pytest.raises(PoolUnavailable, match=message) as refused:
        filed.pool()
    assert "\n" not in str(refused.value)
    assert str(filed.path) in str(refused.value)


def test_what_counts_no_more_is_swept_away(filed: InFile, path: Path) -> None:
    for _ in range(5):
        filed.pool().lease(ask(used=1, hold=5))
        filed.now += HOUR
    filed.now += 30 * HOUR
    filed.pool().lease(ask(used=1))
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = [
            file.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("holders", "accounts", "usage")
        ]
    assert rows == [1, 0, 1]


def test_after_its_end_a_pool_says_nothing_more_to_the_others(filed: InFile) -> None:
    first, second = filed.pool(), filed.pool()
    settled(filed, (first, ask()), (second, ask()))
    first.close()
    first.lease(ask())
    assert second.lease(ask()).holders == 1


# -- which account


def test_an_account_is_its_server_and_its_key(tmp_path: Path) -> None:
    def named(url: str, key: str = "sk-one", home: Path = tmp_path) -> str:
        return account_id(url, key, home)

    ours = named("https://api.example.com/v1")
    assert ours == named("https://API.example.com:443/v2/chat")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    others = {
        named("https://api.example.com/v1", "sk-two"),
        named("http://api.example.com/v1"),
        named("https://api.example.com:8443/v1"),
        named("https://api.example.org/v1"),
        named("https://api.example.com/v1", home=elsewhere),
    }
    assert len(others) == 5
    assert ours not in others


def test_the_key_of_an_account_is_nowhere_to_be_read(filed: InFile, path: Path) -> None:
    key = "sk-that-nobody-may-see"
    account = account_id("https://api.example.com/v1", key, path.parent)
    filed.pool(account=account).lease(ask(used=1))
    assert (path.parent / "account.key").stat().st_mode & 0o777 == 0o600
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"account.key", "quota.db", "quota.db-journal"}
    for file in files:
        assert key.encode() not in file.read_bytes()


def test_runs_that_start_at_once_on_a_new_machine_name_the_account_alike(tmp_path: Path) -> None:
    barrier, names = threading.Barrier(8), set()

    def start() -> None:
        barrier.wait()
        names.add(account_id("https://api.example.com/v1", "sk-one", tmp_path))

    started = [threading.Thread(target=start) for _ in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert len(names) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["account.key"]


@pytest.mark.parametrize("wrong", ["short", "folder", "nowhere"])
def test_a_secret_that_cannot_be_used_is_said_in_one_line(wrong: str, tmp_path: Path) -> None:
    home = tmp_path
    if wrong == "short":
        (home / "account.key").write_bytes(b"short")
    elif wrong == "folder":
        (home / "account.key").mkdir()
    else:
        home = tmp_path / "missing"
    with pytest.raises(PoolUnavailable, match=r"account\.key (is damaged; delete it|cannot be made or read: )"):
        account_id("https://api.example.com/v1", "sk-one", home)
