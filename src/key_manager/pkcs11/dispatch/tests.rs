//! One request over two or three HSMs that fail, hang, are slow and come back, in paused time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::breaker::{Admission, BreakerState};
use crate::key_manager::pkcs11::failover::{Candidate, Failover, Patience};
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::scripted::{Act, Script, TokioClock, hsm};
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::{Done, HsmError};
use crate::metrics::Metrics;

const MS: Duration = Duration::from_millis(1);
/// Before anything was learned.
const HEDGE_POINT: Duration = Duration::from_millis(20);

struct Group {
    members: Vec<Arc<Hsm>>,
    scripts: Vec<Arc<Script>>,
    failover: Failover,
    metrics: Metrics,
}

fn well() -> Act {
    Act::After(MS, Ok(()))
}

fn fails() -> Act {
    Act::After(MS, Err(device()))
}

fn device() -> HsmError {
    HsmError::Device("gone".to_owned())
}

impl Group {
    async fn of<const N: usize>(share: u8, acts: [Act; N]) -> Self {
        let metrics = Metrics::new().unwrap();
        let (mut members, mut scripts) = (Vec::new(), Vec::new());
        for (name, act) in ["a", "b", "c"].into_iter().zip(acts) {
            let (member, script) = hsm(name, act, &metrics).await;
            members.push(member);
            scripts.push(script);
        }
        Self { members, scripts, failover: Failover::new("test", share, Arc::new(TokioClock)), metrics }
    }

    fn patient(self) -> Self {
        Self { failover: self.failover.with_patience(Patience::HangLimit), ..self }
    }

    async fn ask_for(&self, task: BackingTask, within: Duration) -> Done<Output> {
        let candidate = |member| Candidate::new(member, Task::Backing(task.clone()));
        let candidates = self.members.iter().map(candidate).collect();
        self.failover.run(candidates, HsmError::KeyMissing, TokioClock.instant() + within).await
    }

    /// The answer, and how long it took.
    async fn ask(&self) -> (Result<(), HsmError>, Duration) {
        let started = TokioClock.instant();
        let done = self.ask_for(BackingTask::Random(32), 230 * MS).await;
        (done.result.map(drop), TokioClock.instant() - started)
    }

    fn given(&self) -> Vec<usize> {
        self.scripts.iter().map(|script| script.given()).collect()
    }

    fn admissions(&self) -> Vec<Admission> {
        self.scripts.iter().map(|script| script.fitness().admission(0)).collect()
    }

    fn metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.render().unwrap()).unwrap().lines().any(|other| other == line)
    }
}

fn now() -> Instant {
    TokioClock.instant()
}

#[tokio::test(start_paused = true)]
async fn members_that_are_equal_take_turns() {
    let group = Group::of(5, [well(), well(), well()]).await;
    for _ in 0..30 {
        assert_eq!(group.ask().await, (Ok(()), MS));
    }
    assert!(group.given().iter().all(|given| (8..=12).contains(given)), "{:?}", group.given());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_costs_a_request_the_time_until_its_hedge_and_then_none() {
    let group = Group::of(5, [Act::Hang, well()]).await;
    let (mut slow, mut fast) = (0, 0);
    for _ in 0..100 {
        match group.ask().await {
            (Ok(()), time) if time == MS => fast += 1,
            (Ok(()), time) => {
                assert!(time <= HEDGE_POINT + MS, "{time:?}");
                slow += 1;
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
    // What hangs is work in hand: it gets nothing more while the other one is idle.
    assert_eq!((slow, fast), (1, 99));
    assert_eq!(group.given(), [1, 100]);
    assert!(group.metric(r#"holdfast_hsm_hedges_total{hsm="a",outcome="won"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_of_either_wins_over_a_fault_of_the_other() {
    for (first, second) in [
        (Act::After(30 * MS, Err(device())), Act::After(30 * MS, Ok(()))),
        (Act::After(50 * MS, Ok(())), Act::After(5 * MS, Err(device()))),
    ] {
        // Both are asked first once.
        let group = Group::of(5, [first, second]).await;
        for _ in 0..2 {
            let (result, time) = group.ask().await;
            assert_eq!(result, Ok(()));
            assert!(time <= 60 * MS, "{time:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_about_the_data_of_the_caller_ends_the_request() {
    let bad = Act::After(MS, Err(HsmError::BadCiphertext));
    let group = Group::of(5, [bad.clone(), bad]).await;
    assert_eq!(group.ask().await.0, Err(HsmError::BadCiphertext));
    assert_eq!(group.given().iter().sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_hedging_a_member_that_hangs_is_waited_for() {
    let group = Group::of(0, [Act::Hang, Act::Hang]).await;
    assert_eq!(group.ask().await, (Err(HsmError::DeadlineExceeded), 230 * MS));
    assert_eq!(group.given().iter().sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn hedges_end_with_the_budget_and_what_is_refused_is_counted() {
    let slow = Act::After(100 * MS, Ok(()));
    let group = Group::of(1, [slow.clone(), slow]).await;
    for _ in 0..400 {
        assert_eq!(group.ask().await.0, Ok(()));
    }
    // The burst of 128, and one in a hundred.
    let hedged = group.given().iter().sum::<usize>() - 400;
    assert!((128..=132).contains(&hedged), "{hedged}");
    let text = String::from_utf8(group.metrics.render().unwrap()).unwrap();
    assert!(text.contains(r#"holdfast_hsm_hedges_total{hsm="a",outcome="refused"}"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_makes_keys_is_never_asked_twice_at_once() {
    let group = Group::of(5, [Act::After(200 * MS, Ok(())), Act::After(200 * MS, Ok(()))]).await;
    let done = group.ask_for(BackingTask::MakeSigningKey, 230 * MS).await;
    assert!(done.result.is_ok());
    assert_eq!(group.given().iter().sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_member_that_is_taken_out_goes_on_at_once_without_a_hedge() {
    let group = Group::of(5, [Act::Hang, Act::Hang]).await;
    let take_out = async {
        tokio::time::sleep(5 * MS).await;
        let hung = group.given().iter().position(|&given| given == 1).unwrap();
        group.scripts[1 - hung].set(well());
        group.scripts[hung].fitness().probe_failed("gone");
        ["a", "b"][hung]
    };
    let (answer, name) = tokio::join!(group.ask(), take_out);
    assert_eq!(answer, (Ok(()), 6 * MS));
    assert!(group.metric(&format!(r#"holdfast_hsm_evictions_total{{hsm="{name}"}} 1"#)));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_fails_is_taken_out_tried_again_and_taken_back() {
    let group = Group::of(5, [fails(), well()]).await;
    for _ in 0..20 {
        assert_eq!(group.ask().await.0, Ok(()));
    }
    assert_eq!(group.admissions(), [Admission::LastResort, Admission::Freely]);
    assert_eq!(group.given(), [3, 20]);
    assert!(group.metric(r#"holdfast_hsm_breaker_state{hsm="a",state="open"} 1"#));
    // A trial that fails.
    group.members[0].probe(MS).await;
    assert_eq!(group.admissions()[0], Admission::OnTrial);
    group.scripts[1].set(Act::After(MS, Err(device())));
    assert_eq!(group.ask().await.0, Err(device()));
    assert_eq!(group.admissions()[0], Admission::LastResort);
    // One that does not, after the pause.
    group.scripts.iter().for_each(|script| script.set(well()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    group.members[0].probe(MS).await;
    group.scripts[1].set(Act::After(MS, Err(device())));
    assert_eq!(group.ask().await.0, Ok(()));
    assert_eq!(group.scripts[0].fitness().breaker().0, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_no_member_is_well_the_request_is_tried_all_the_same() {
    let group = Group::of(5, [fails(), fails()]).await;
    for _ in 0..10 {
        assert_eq!(group.ask().await, (Err(device()), 2 * MS));
    }
    assert_eq!(group.admissions(), [Admission::LastResort; 2]);
    group.scripts.iter().for_each(|script| script.set(well()));
    assert_eq!(group.ask().await, (Ok(()), MS));
}

#[tokio::test(start_paused = true)]
async fn what_an_hsm_corrupted_goes_on_at_another_and_none_of_its_answers_leaves() {
    let corrupts = Act::After(MS, Err(HsmError::Corrupted("wrong".to_owned())));
    let group = Group::of(5, [corrupts.clone(), well()]).await;
    for _ in 0..4 {
        assert_eq!(group.ask().await.0, Ok(()));
    }
    assert_eq!(group.given(), [1, 4]);
    assert_eq!(group.admissions(), [Admission::Never, Admission::Freely]);
    assert!(group.metric(r#"holdfast_hsm_corruptions_total{hsm="a"} 1"#));
    // Not even if there is no other.
    let alone = Group::of(5, [corrupts]).await;
    assert!(matches!(alone.ask().await.0, Err(HsmError::Corrupted(_))));
    alone.scripts[0].set(well());
    assert!(matches!(alone.ask().await.0, Err(HsmError::Unavailable(_))));
    for _ in 0..5 {
        assert_eq!(alone.admissions(), [Admission::Never]);
        alone.members[0].probe(MS).await;
    }
    assert_eq!(alone.ask().await.0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_moment_in_which_a_corruption_is_found_do_not_leave() {
    let group = Group::of(5, [Act::After(10 * MS, Ok(()))]).await;
    let find_corruption = async {
        tokio::time::sleep(MS).await;
        group.scripts[0].set(Act::After(MS, Err(HsmError::Corrupted("wrong".to_owned()))));
        group.ask().await.0
    };
    let (before, found) = tokio::join!(group.ask(), find_corruption);
    assert!(matches!(found, Err(HsmError::Corrupted(_))));
    assert!(matches!(before.0, Err(HsmError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn trouble_with_one_member_is_no_missing_key() {
    let missing = Act::After(MS, Err(HsmError::KeyMissing));
    let group = Group::of(5, [missing.clone(), fails()]).await;
    for _ in 0..2 {
        assert_eq!(group.ask().await.0, Err(device()));
    }
    let group = Group::of(5, [missing.clone(), missing]).await;
    assert_eq!(group.ask().await.0, Err(HsmError::KeyMissing));
    let group = Group::of(5, []).await;
    assert_eq!(group.ask().await.0, Err(HsmError::KeyMissing));
}

/// Those of clusters have seconds.
#[tokio::test(start_paused = true)]
async fn with_more_time_each_member_has_as_long_as_a_call_may_take() {
    let within = Duration::from_secs(5);
    for (share, expected) in [(0, [250, 500, 750]), (5, [20, 270, 520])] {
        let started = now();
        let group = Group::of(share, [Act::Hang, Act::Hang, Act::Hang]).await.patient();
        let done = group.ask_for(BackingTask::Random(32), within).await;
        assert_eq!(done.result.map(drop), Err(HsmError::DeadlineExceeded));
        assert_eq!((now() - started).as_millis(), expected[2]);
        assert_eq!(group.given(), [1, 1, 1]);
    }
    let started = now();
    let alone = Group::of(5, [Act::Hang]).await.patient();
    let done = alone.ask_for(BackingTask::Random(32), within).await;
    assert_eq!(
        (done.result.map(drop), (now() - started).as_millis()),
        (Err(HsmError::DeadlineExceeded), 500)
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_answers_nothing_is_taken_out_by_a_brief_probe() {
    let group = Group::of(5, [Act::Hang, Act::Hang]).await;
    let started = now();
    assert!(group.ask().await.0.is_err());
    assert_eq!(now() - started, 230 * MS);
    // Both have been asked and fell silent.
    assert_eq!(group.admissions(), [Admission::LastResort; 2]);
}
