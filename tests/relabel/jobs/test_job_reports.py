"""What a running job tells: one bar that never goes back, the time left, a log that can be read."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from relabel.db.engine import open_database
from relabel.db.jobs import claim_job, create_job, finish_job, get_job, request_cancel
from relabel.errors import JobError
from relabel.jobs.progress import JobCancelled, JobProgress, JobReporter
from relabel.logs import LONGEST_LINE, log_path, read_log
from relabel.progress import Progress

PLAN = {"reading": 1, "training": 6, "scoring": 3}


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


# The bar


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reading", "training", "scoring the train examples", "elsewhere"]),
            st.integers(-1, 12),
            st.integers(0, 10),
        )
    )
)
def test_the_bar_never_goes_back_nor_beyond_its_end(reports):
    overall, last = JobProgress(PLAN, Clock()), 0.0
    for report in reports:
        overall.update(Progress(*report))
        assert last <= overall.share <= 1.0
        last = overall.share


def test_stages_follow_each_other_on_one_bar():
    overall, seen = JobProgress(PLAN, Clock()), []
    for stage, done in (("reading", 1), ("training", 1), ("training", 2), ("scoring it", 2)):
        overall.update(Progress(stage, done, 2))
        seen.append(round(overall.share, 3))
    assert seen == [0.05, 0.4, 0.7, 1.0]
    assert overall.message == "scoring it"


def test_the_time_left_comes_from_the_speed_of_this_attempt():
    clock = Clock()
    overall = JobProgress(PLAN, clock)
    overall.update(Progress("training", 50, 100))  # half of it was done in an earlier attempt
    assert overall.seconds_left() is None
    clock.now += 25
    overall.update(Progress("training", 75, 100))
    # A quarter took 25 s: 25 s more, and scoring is half as long as a training of 100 s.
    assert overall.seconds_left() == pytest.approx(75)
    clock.now += 5
    assert 60 < overall.seconds_left() < 80
    assert overall.message == "training (75% of this step)"


def test_the_time_left_is_smooth_and_counts_down_between_reports():
    clock = Clock()
    overall = JobProgress({"training": 1}, clock)
    overall.update(Progress("training", 0, 1000))
    told = []
    for second in range(1, 100):
        clock.now += 1
        # Fast and slow by turns, ten a second on the whole.
        overall.update(Progress("training", 10 * second + (8 if second % 2 else -8), 1000))
        told.append(overall.seconds_left())
    steps = [before - after for before, after in pairwise(told[20:])]
    assert max(steps) < 3
    assert min(steps) > -1
    assert told[50] == pytest.approx(49, abs=5)


def test_a_short_first_stage_says_nothing_about_the_rest():
    clock = Clock()
    overall = JobProgress({"reading": 1, "training": 99}, clock)
    overall.update(Progress("reading", 0, 2))
    clock.now += 10
    overall.update(Progress("reading", 1, 2))
    assert overall.seconds_left() is None


def test_a_stage_that_comes_after_later_ones_counts_them_as_done():
    clock = Clock()
    overall = JobProgress(PLAN, clock)
    overall.update(Progress("training", 2, 2))
    overall.update(Progress("reading", 0, 2))
    clock.now += 10
    overall.update(Progress("reading", 1, 2))
    assert overall.share == pytest.approx(0.7)
    # Half of the reading took 10 s; of the plan only scoring is to come, three times a reading.
    assert overall.seconds_left() == pytest.approx(10 + 3 * 20)


# Heartbeats


@pytest.fixture
def engine(place):
    engine = open_database(place.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def job(engine):
    return claim_job(engine, create_job(engine, "mine", "count").id)


def keep_reporting(report) -> None:
    for done in range(1000):
        report(Progress("training", done, 1000))
        time.sleep(0.01)


def test_thousands_of_reports_are_a_few_small_writes(engine, job):
    updates = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda *told: updates.append(told[2]) if told[2].startswith("UPDATE") else None,
    )
    begun, reports = time.monotonic(), 0
    with JobReporter(engine, job.id, PLAN, interval=0.2) as report:
        while reports <= 1000 or len(updates) < 3:
            reports += 1
            report(Progress("training", min(reports, 90_000), 100_000))
    # One in each interval, one at the begin and one at the end.
    assert 2 <= len(updates) <= 2 + (time.monotonic() - begun) / 0.2
    seen = get_job(engine, job.id)
    assert 0 < seen.progress < 1
    assert seen.message.startswith("training")


def test_a_cancelled_job_hears_of_it_in_its_next_report(engine, job):
    request_cancel(engine, job.id)
    with JobReporter(engine, job.id, PLAN, interval=0.01) as report, pytest.raises(JobCancelled):
        keep_reporting(report)


def test_a_job_that_was_taken_for_dead_stops(engine, job):
    finish_job(engine, job.id, "failed", error="gone")
    reporter = JobReporter(engine, job.id, PLAN, interval=0.01)
    with reporter as report, pytest.raises(JobError, match="failed already"):
        keep_reporting(report)


def test_work_in_another_thread_is_stopped_by_its_reports_alone(engine, job):
    ended = []

    def work() -> None:
        try:
            with JobReporter(engine, job.id, PLAN, interval=0.01) as report:
                while True:
                    report(Progress("training", 1, 2))
                    time.sleep(0.01)
        except JobCancelled:
            ended.append("cancelled")

    thread = threading.Thread(target=work)
    thread.start()
    request_cancel(engine, job.id)
    thread.join(timeout=60)
    assert ended == ["cancelled"]


# Logs


@pytest.fixture
def logged(place, job):
    """A job with a log, and a function that fills it."""
    job = replace(job, log="logs/job-1.log")
    (place.root / "logs").mkdir()

    def fill(content: bytes) -> None:
        (place.root / "logs" / "job-1.log").write_bytes(content)

    return place, job, fill


def test_a_missing_and_an_empty_log_have_no_lines(logged):
    place, job, fill = logged
    assert read_log(place, job) == []
    fill(b"")
    assert read_log(place, job) == []
    assert read_log(place, replace(job, log="")) == []


def test_the_last_lines_of_a_huge_log_are_read_without_the_rest(logged):
    place, job, fill = logged
    fill(b"".join(b"line %d\n" % number for number in range(2_000_000)))
    begun = time.process_time()
    lines = read_log(place, job, tail=3)
    assert lines == ["line 1999997", "line 1999998", "line 1999999"]
    assert time.process_time() - begun < 0.05


def test_control_characters_of_a_log_are_harmless(logged):
    place, job, fill = logged
    fill(b"\x1b[2J\x1b]0;title\x07 10%\r 90%\rdone \xff\xe2\x80\xae<b>\t1\nlast, unfinished")
    assert read_log(place, job) == ["done \ufffd?<b>    1", "last, unfinished"]
    fill(b"x" * 10_000_000)
    assert read_log(place, job) == ["x" * LONGEST_LINE]


def test_a_log_elsewhere_is_not_read(logged):
    place, job, _ = logged
    (place.root / "secret").write_text("password")
    for path in ("secret", "logs/../secret", str(place.root / "secret")):
        assert log_path(place, replace(job, log=path)) is None
        assert read_log(place, replace(job, log=path)) == []


@pytest.fixture
def ctrl_c():
    """As in a terminal, also where the tests run in the background."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def lose_ctrl_c(engine, job, work) -> None:
    with JobReporter(engine, job.id, PLAN, interval=0.05) as report:
        with suppress(KeyboardInterrupt):  # as compiled modules do while they are imported
            signal.raise_signal(signal.SIGINT)
        work(report)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("work", [keep_reporting, lambda report: time.sleep(20)])
def test_a_ctrl_c_that_a_library_has_swallowed_comes_again(engine, job, work):
    with pytest.raises(KeyboardInterrupt):
        lose_ctrl_c(engine, job, work)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
