"""The words of batchdeck as frozen values: what travels between inputs, engine, store, control API and console.

Times named ``*_at`` are wall-clock seconds since the epoch; every other time is a duration in seconds. ``None`` means
unknown and is shown as unknown, never as zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

API_VERSION = 1

Wall = Callable[[], float]
"""A wall clock: seconds since the epoch. Handed in, so that the engine also runs under virtual time."""

ItemState = Literal["queued", "in_flight", "done", "failed", "skipped"]
"""``in_flight`` lives in the engine's memory only; the run file knows the other four."""

RunState = Literal[
    "starting", "running", "paused", "draining", "done", "drained", "cancelled", "stopped", "interrupted", "failed"
]
"""``stopped``: refused key, used-up budget, or a provider that stayed down.

``interrupted``: the engine is gone without an ending."""

ENDINGS = ("done", "drained", "cancelled", "stopped", "failed")

AttemptOutcome = Literal["ok", "rate_limited", "transient", "permanent", "fatal", "cancelled"]
"""``transient`` may be tried again, ``permanent`` ends the item, ``fatal`` stops the run and leaves the item queued."""


HEDGED = "hedged"
"""The error class of an attempt that was cancelled since another one for the same item took its place: no error."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits of one attempt, seconds. ``total`` bounds the whole request."""

    connect: float = 10.0
    first_token: float = 120.0
    idle: float = 60.0
    total: float = 600.0


Meter = Literal["requests", "tokens", "input_tokens", "output_tokens", "requests_day", "tokens_day"]
"""What a provider counts: the first four a minute, the last two a day. ``tokens`` are input and output together."""

Reason = Literal[
    "cap", "rpm", "tpm", "daily", "cooldown", "backoff", "breaker", "budget", "store", "machine", "input", "sweep",
    "paused", "stopping", "connecting", "first_token", "streaming",
]  # fmt: skip
"""Why an unfinished item waits.

``cap``: behind the concurrency. ``rpm``, ``tpm``, ``daily``: for the account's quota. ``cooldown``: a 429 holds the
account. ``backoff``: this item is tried again later. ``breaker``: the provider is down or out of quota. ``budget``:
what is in flight may use up the rest. ``store``: for the disk, also answered and not yet committed. ``machine``: this
process is behind. ``input``: nothing is read in yet. ``sweep``: for the end of a measured level. ``paused``,
``stopping``: by a person, or to end the run. The last three are in flight."""


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """What the account may send, as a person says it; None: learned from the provider's answers."""

    rpm: float | None = None
    tpm: float | None = None
    input_tpm: float | None = None
    output_tpm: float | None = None
    rpd: float | None = None
    tpd: float | None = None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stops by itself, over all its sessions. None: nowhere.

    ``max_cost``: US dollars. ``max_tokens``: in and out, of every attempt. ``max_errors``: failed items but for bad
    input lines; below 1 it is their share of the items settled. ``deadline_at``: seconds since the epoch.
    ``max_outage``: seconds that the provider may be down before the run stops; 0: no breaker, items fail instead.
    """

    max_cost: float | None = None
    max_tokens: float | None = None
    max_errors: float | None = None
    deadline_at: float | None = None
    max_outage: float | None = None


class Autotune(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the engine turns the concurrency itself, and between which bounds. None: no bound of a person's.

    ``ceiling``: where a person turned it to by hand while the engine did: from then on it goes no higher by itself.
    """

    is_on: bool = False
    least: int | None = None
    most: int | None = None
    ceiling: int | None = None


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is: kept in the run file, so it holds no secret.

    ``headers`` holds only headers that are safe to keep; a value ``${NAME}`` is filled from the environment when sent.
    ``managed`` holds options of a provider that batchdeck itself starts (``sim``, ``local``), else None.
    """

    name: str
    input: str
    input_format: Literal["jsonl", "csv", "text"] | None
    """None: told from the input's first bytes."""
    model: str
    provider: str
    base_url: str = ""
    key_env: str | None = None
    prompt: str | None = None
    system: str | None = None
    headers: dict[str, str] = {}
    params: dict[str, Any] = {}
    max_tokens: int | None = None
    stream: bool = True
    concurrency: int = 10
    limit: int | None = None
    max_retries: int = 5
    max_wait: float | None = None
    limits: Limits = Limits()
    strict: bool = False
    seed: int = 0
    managed: dict[str, Any] | None = None
    quotas: Quotas = Quotas()
    budget: Budget = Budget()
    price: tuple[float, float] | None = None
    """US dollars for a million input and output tokens, where no price list knows the model."""
    priority: int = 1
    """Weight of this run among those that share its account, 1 to 100."""
    autotune: Autotune = Autotune()
    hedge: float | None = None
    """Second requests for stragglers, at most this share of the others; None: none."""


class InputRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an input, good or bad.

    ``fields``: the columns by name. For a bad line ``error`` says why, with file and line, and ``fields`` is empty.
    ``offset``: the byte offset just after this row, from where reading can go on.
    """

    index: int
    line: int
    offset: int
    fields: dict[str, Any]
    custom_id: str | None = None
    error: str | None = None


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the model for one item: chat messages, or the whole body of an OpenAI batch line."""

    messages: list[dict[str, Any]] | None = None
    body: dict[str, Any] | None = None
    path: str | None = None
    label: str = ""
    """The prompt in one line of at most 200 characters, for tables."""


class IngestRow(msgspec.Struct, frozen=True, kw_only=True):
    """An input row as the store takes it: ``data`` is the row's fields as JSON."""

    index: int
    line: int
    data: str
    label: str
    custom_id: str | None = None
    error: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An item as the engine pulls it from the run file. ``attempts``: the number of the last one in the ledger."""

    idx: int
    variant: int
    position: int
    revision: int
    data: str
    attempts: int
    custom_id: str | None = None


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a slot: one request, ready to send. ``path`` is below the base URL, e.g. ``/chat/completions``."""

    idx: int
    variant: int
    revision: int
    number: int
    path: str
    body: bytes
    stream: bool


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said, as decoded. Token counts are the server's own, None where it gave none."""

    text: str
    finish_reason: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt did not give an answer.

    ``error_type`` is a short stable class (``rate_limited``, ``http_500``, ``timeout_idle``, ``truncated``, ``auth``);
    ``retry_after`` seconds, where the server gave one.
    """

    outcome: AttemptOutcome
    error_type: str
    message: str
    retry_after: float | None = None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Measured by the engine's clock, from one moment. ``connect``: until it went out on a connection, which is soon on
    one that was kept. ``ttft``: to the first token. ``seconds``: E2E. ``itl``: mean gap of tokens.
    """

    started_at: float
    seconds: float
    ttft: float | None = None
    itl: float | None = None
    connect: float | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What comes out of a slot. ``failure`` None means a good ``answer``; both set, a partial one."""

    order: WorkOrder
    timings: Timings
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""
    raw_cut: bool = False
    """More came than ``raw`` holds."""
    answer: Answer | None = None
    failure: Failure | None = None
    sends: int = 1
    cost: float | None = None
    stalled: bool = False
    """Its stream had begun and fell silent, for a while or for good."""


class Hedged(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt was beside another one for the same item.

    ``is_second``: it was sent because the first took unusually long. ``is_spare``: the other one settles the item, or
    goes on for it; then ``tokens`` and US dollars are what this one cost, ``is_guess`` where the provider did not tell.
    """

    is_second: bool
    is_spare: bool = False
    tokens: int = 0
    cost: float | None = None
    is_guess: bool = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What the store commits: one attempt, and the item's outcome if this attempt decided it."""

    settled: Settled
    outcome: Literal["done", "failed"] | None = None
    hedged: Hedged | None = None


class ErrorClass(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of one class: how many attempts ended so, how many items failed of it, and one example."""

    error_type: str
    attempts: int
    items: int
    example: str
    example_idx: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Kept counters of a run; never counted on demand. ``items`` grows until the input is read."""

    items: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    attempts: int = 0
    sends: int = 0
    retries: int = 0
    rate_limit_hits: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: float = 0.0
    unpriced: int = 0
    """Answers whose cost is unknown: with any of them ``cost`` is a lower bound."""
    bad_lines: int = 0
    seconds: float = 0.0
    """Time that an engine worked on this run, over all its sessions."""
    queue_seconds: float = 0.0
    """Items that waited, each for its seconds: divided by ``seconds`` it is the average queue depth."""
    stalls: int = 0
    """Streams that began and fell silent for long, counted as they end."""
    hedges: int = 0
    """Second requests sent for items whose first one took long, counted as they end; ``attempts`` holds them, too."""
    hedge_wins: int = 0
    """Those that settled their item."""
    hedge_tokens: int = 0
    """Tokens of the requests whose item the other one settled, as far as known."""
    hedge_cost: float = 0.0
    """US dollars of those. ``cost`` holds what providers told of it, but no guesses."""
    hedge_guesses: int = 0
    """Those of which the provider did not tell what they cost: with any of them the two above are lower bounds."""

    @property
    def unfinished(self) -> int:
        return self.items - self.done - self.failed - self.skipped

    @property
    def queue_depth(self) -> float:
        """Items that waited at a time, on average over the whole run."""
        return self.queue_seconds / self.seconds if self.seconds > 0 else 0.0


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    p50: float
    p95: float
    p99: float


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is not faster.

    ``counts``: unfinished items by their reason, in order of ``Reason`` and without zeros; they add up to
    ``Counts.unfinished``. ``held``: what keeps the next request from starting now, None when nothing does. ``seconds``:
    until that may be over, where it is known. ``shares``: the share of the last minute that each reason held the run.
    ``sentence``: all that in plain words; empty when nothing holds it.
    """

    counts: dict[Reason, int] = {}
    held: Reason | None = None
    seconds: float | None = None
    shares: dict[Reason, float] = {}
    sentence: str = ""


class QuotaState(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of the account as it is known now.

    ``limit``: a minute or a day, by ``meter``. ``source``: said by a person, by the provider's headers, learned from
    its 429s, or known by another run of the account. ``remaining``: what the provider would still take now, as far as
    that is known. ``rate``: what this run may use of it, a minute or a day: less than ``limit`` where other runs have
    their share.
    """

    meter: Meter
    limit: float
    source: Literal["flag", "header", "learned", "shared"]
    remaining: float | None
    rate: float


class ServerLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How busy the server said it is, whoever's requests they are. ``cache``: share of its KV cache that is taken, from
    0 to 1, None where it does not tell. ``at``: when it said so, wall time."""

    running: int
    waiting: int
    cache: float | None
    at: float


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine does about its concurrency. ``sentence``: that and why, to a person.

    ``least`` and ``most``: the bounds that hold now, whoever set them; ``ceiling``: a person's hand in them.
    """

    is_on: bool = False
    phase: Literal["off", "climbing", "measuring", "settled", "probing", "backing off", "resting"] = "off"
    sentence: str = ""
    least: int = 1
    most: int = 10_000
    ceiling: int | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One level of a sweep. ``seconds``: from its first request to its last answer; ``throughput``: good answers a
    second, since to fail fast is no throughput.

    ``speedup``: of the throughput over that of one at a time, None where that was not measured; ``efficiency``: its
    share of the concurrency. ``queue_depth``: items of this level that waited at a time, on average. ``success``: share
    of the items settled that are done. ``errors``: attempts that ended so, by class. ``memory``: bytes resident, at
    most.
    """

    concurrency: int
    items: int
    seconds: float
    throughput: float
    tokens_rate: float
    done: int
    failed: int
    attempts: int
    retries: int
    rate_limit_hits: int
    queue_depth: float
    success: float
    e2e: Percentiles | None = None
    ttft: Percentiles | None = None
    errors: dict[str, int] = {}
    memory: int | None = None
    speedup: float | None = None
    efficiency: float | None = None


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A measured sweep, under way or over. ``levels``: (concurrency, items) in the order they are measured."""

    levels: tuple[tuple[int, int], ...]
    measured: tuple[Measured, ...] = ()
    is_over: bool = False
    sentence: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state of a live run, frozen. The console draws from this and from the run file, nothing else."""

    run: str
    path: str
    state: RunState
    message: str
    """One sentence: why it waits, or why it stopped. Empty while it simply runs."""
    counts: Counts
    ingest_complete: bool
    items_expected: int | None
    """``counts.items`` once the input is read, before that an estimate from the bytes read, or None."""
    in_flight: int
    backoff: int
    """Items that wait to be tried again; part of ``queued``."""
    queued: int
    concurrency: int
    uncommitted: int
    rate: float
    """Items settled a second over the last 10 s."""
    tokens_rate: float
    eta: float | None
    cooldown: float
    """Seconds until a rate limit lets the run go on, 0 when none holds it."""
    ttft: Percentiles | None
    e2e: Percentiles | None
    errors: tuple[ErrorClass, ...]
    seq: int
    """The newest commit; it changes exactly when settled rows changed."""
    samples: int
    """How many samples are in the run file; it changes when a new one is there to draw."""
    at: float
    waiting: Waiting = Waiting()
    quotas: tuple[QuotaState, ...] = ()
    budget: Budget = Budget()
    settings: dict[str, float | None] = {}
    """What ``configure`` can change, as it is now (``batchdeck.settings``)."""
    queue_depth: float = 0.0
    """Items waiting at a time, on average over the whole run."""
    mode: Literal["open", "rate-limited"] = "open"
    """``rate-limited``: a 429 came, or the account's quota held the run in the last minute."""
    shared_by: int = 1
    """Runs of this machine that use the same account now, this one among them."""
    tuning: Tuning = Tuning()
    sweep: Sweep | None = None
    """The newest sweep of this session."""
    server: ServerLoad | None = None
    """What the server tells of itself, None where it tells nothing."""
    stalled: int = 0
    """Streams that are silent now, for much longer than is usual."""
    hedging: int = 0
    """Of those in flight, second requests for an item that has one already."""


class LiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row in flight. ``text``: what has come so far (its tail, or all of it when asked for ``full``)."""

    idx: int
    phase: Literal["connecting", "waiting", "streaming", "store"]
    """``waiting``: for the first token. ``store``: answered, not yet committed."""
    text: str
    tokens: int
    seconds: float
    attempt: int
    ttft: float | None = None
    silent: float | None = None
    """Seconds that a stalled stream has been silent; None: it is not stalled."""
    hedged: bool = False
    """Two requests are in flight for the item; this is the one that is further."""


class Live(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[LiveRow, ...]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command to a live run. ``concurrency`` takes ``value`` (absolute) or ``by`` (relative): a turn by hand."""

    name: Literal["concurrency", "configure", "pause", "resume", "drain", "cancel", "retry", "retry_class", "sweep"]
    value: int | None = None
    """For ``sweep``: the concurrency to go on with when it is over; None: the one before it."""
    by: int | None = None
    idx: list[int] | None = None
    """For ``retry``: only these items; None means all failed ones."""
    error: str | None = None
    """For ``retry_class``: only items that failed of this class. A name of its own: an engine of before would take a
    ``retry`` with it for one of all."""
    settings: dict[str, float | None] | None = None
    """For ``configure``: what changes, by the names of ``batchdeck.settings``; None takes a limit off."""
    levels: list[tuple[int, int]] | None = None
    """For ``sweep``: (concurrency, items) in the order to measure; none ends the sweep under way."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did, in one sentence to show; ``ok`` False says why not."""

    ok: bool
    message: str


class LockInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine writes into the lock file it holds."""

    host: str
    pid: int
    endpoint: str
    api: int
    started_at: float


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher hands to a new engine process through a pipe. ``secrets``: headers that must not be kept."""

    path: str
    config: RunConfig | None
    """Set: create the run file. None: open it."""
    secrets: dict[str, str] = {}
    settings: dict[str, float | None] = {}
    """Changes to the settings that the run file holds, by the names of ``batchdeck.settings``."""
    retry_failed: bool = False
    retry_error: str | None = None
    """With ``retry_failed``: only items that failed of this class."""
    retry_idx: list[int] | None = None
    """With ``retry_failed``: only these items."""
    metrics_port: int | None = None
    """Serve ``/metrics`` on this port of loopback, too; 0: any free one."""
    sweep: tuple[tuple[int, int], ...] = ()
    """Measure these levels, (concurrency, items) each, and drain: nothing else is sent."""
    warm_up: bool = False
    """One item goes before them, so that no level pays for the first connection."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The one line an engine writes to its readiness pipe."""

    ok: bool
    endpoint: str = ""
    error: str = ""
    exit_code: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the results table. ``text`` is a preview of at most 400 characters."""

    idx: int
    state: ItemState
    custom_id: str | None
    label: str
    text: str
    finish_reason: str | None
    tokens_in: int | None
    tokens_out: int | None
    ttft: float | None
    seconds: float | None
    cost: float | None
    error_type: str | None
    error: str | None
    attempts: int


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an item's ledger, with its raw bytes still compressed away."""

    id: int
    number: int
    outcome: AttemptOutcome
    status: int | None
    error_type: str | None
    error: str | None
    text: str
    finish_reason: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    cost: float | None
    started_at: float
    ttft: float | None
    itl: float | None
    seconds: float
    sends: int
    headers: dict[str, str]
    connect: float | None = None


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one item. ``data``: the input's fields as JSON."""

    idx: int
    state: ItemState
    custom_id: str | None
    line: int
    label: str
    data: str
    error: str | None
    attempts: tuple[AttemptRow, ...]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a run, as deltas and maxima, so that samples can be merged.

    ``t``: engine seconds since the run began, over all its sessions.
    """

    t: float
    at: float
    dt: float
    done: int
    failed: int
    attempts: int
    rate_limit_hits: int
    tokens_in: int
    tokens_out: int
    cost: float
    in_flight: float
    """Mean over the interval."""
    in_flight_max: int
    concurrency: int
    queued: int
    """Items not yet settled and not in flight, at the end of the interval."""
    backoff: int
    cooldown: float
    """Seconds of the interval that a rate limit held the run."""
    queue_depth: float = 0.0
    """Items neither settled nor in flight: mean over the interval."""
    waits: dict[str, int] = {}
    """``Waiting.counts`` at the end of the interval."""
    held: dict[str, float] = {}
    """Seconds of the interval that each reason kept the next request from starting."""
    ttft: dict[int, int] = {}
    """Of the good answers committed in the interval, in seconds: counts by bucket of ``metrics.histogram``."""
    itl: dict[int, int] = {}
    e2e: dict[int, int] = {}
    stalled: int = 0
    """Streams that began and then fell silent, at most at a time."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to the run: a knob turned, a pause, a rate limit, a stop. Marks on the charts."""

    id: int
    t: float
    at: float
    kind: str
    """``started`` ``resumed`` ``concurrency`` ``pause`` ``resume`` ``drain`` ``cancel`` ``retry`` ``rate_limited``
    ``stopped`` ``store`` ``ended`` ``breaker`` ``quota`` ``settings`` ``tune`` ``sweep``

    ``concurrency``: a person turned the cap; ``tune``: the engine did, and the detail says why."""
    detail: str
    value: float | None = None
    """For ``concurrency`` and ``tune``: the new cap. For ``sweep``: the one measured, or gone on with."""


class RunMeta(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the list shows it. ``state`` is right for now: the lock was probed."""

    run: str
    path: str
    state: RunState
    message: str
    config: RunConfig
    counts: Counts
    ingest_complete: bool
    items_expected: int | None
    created_at: float
    updated_at: float
    rate: float
    """Items a second over the last 10 samples; 0 when it does not run."""
    errors: tuple[ErrorClass, ...] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON that ``run --json`` prints."""

    run: str
    state: RunState
    items: int
    done: int
    failed: int
    skipped: int
    attempts: int
    retries: int
    rate_limit_hits: int
    seconds: float
    tokens_in: int
    tokens_out: int
    cost: float | None
    message: str
    path: str
    errors: tuple[ErrorClass, ...]
    concurrency: int = 0
    queue_depth: float = 0.0
    mode: Literal["open", "rate-limited"] = "open"
    stalls: int = 0
    hedges: int = 0
    hedge_wins: int = 0
    hedge_tokens: int = 0
    hedge_cost: float | None = None
    """What hedging cost on top; a lower bound, None when nothing is known of it."""
