//! A disk that is full, fails or hangs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::audit::chain::ORIGIN;
use crate::audit::disk::{Disk, LiveFile};
use crate::audit::live::Live;
use crate::audit::queue::{Item, Shared};
use crate::audit::tests::{PATIENCE, limits, record, run};
use crate::audit::writer::{State, Writer, days};
use crate::audit::{Act, Limits, Sinks, Unkept, WhenFull};
use crate::clock::{Clock, SystemClock};
use crate::metrics::Metrics;

#[derive(Default)]
struct World {
    files: Mutex<BTreeMap<u64, Vec<u8>>>,
    is_full: AtomicBool,
    hangs: Mutex<bool>,
    released: Condvar,
    free: AtomicU64,
}

#[derive(Clone)]
struct FakeDisk(Arc<World>);

struct FakeFile(Arc<World>, u64);

impl Disk for FakeDisk {
    fn create(&mut self, first: u64) -> io::Result<Box<dyn LiveFile>> {
        self.0.files.lock().insert(first, Vec::new());
        Ok(Box::new(FakeFile(Arc::clone(&self.0), first)))
    }
    fn finish(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn files(&self) -> io::Result<Vec<(u64, SystemTime)>> {
        Ok(self.0.files.lock().keys().map(|first| (*first, SystemClock.now())).collect())
    }
    fn last_sequence(&self, first: u64) -> io::Result<u64> {
        Ok(crate::audit::disk::last_sequence(&self.0.files.lock()[&first]).unwrap())
    }
    fn remove(&mut self, first: u64) -> io::Result<()> {
        self.0.files.lock().remove(&first);
        Ok(())
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.free.load(Ordering::Relaxed))
    }
}

impl LiveFile for FakeFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut hangs = self.0.hangs.lock();
        while *hangs {
            self.0.released.wait(&mut hangs);
        }
        if self.0.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut files = self.0.files.lock();
        let file = files.get_mut(&self.1).unwrap();
        file.truncate(usize::try_from(offset).unwrap());
        file.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Running {
    world: Arc<World>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(limits: Limits) -> Self {
        let world = Arc::new(World { free: AtomicU64::new(u64::MAX), ..World::default() });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let shared = Arc::new(Shared::new(limits, Arc::clone(&clock)));
        let mut disk = FakeDisk(Arc::clone(&world));
        let live = Live::new(disk.create(1).unwrap(), 1, 0);
        let mut state = State {
            live,
            last: ORIGIN,
            trail_id: "t".to_owned(),
            key: None,
            removed: None,
            intents: std::collections::HashMap::new(),
            day: days(clock.now()),
        };
        let head = state.file_head(clock.now()).to_object();
        state.last = state.live.push(&head, state.last);
        let metrics = Metrics::new().unwrap().audit;
        let writer = Writer::new(Arc::clone(&shared), Box::new(disk), state, Sinks::default(), metrics);
        Self { world, shared, thread: Some(thread::spawn(move || writer.run())) }
    }

    fn ask(&self) -> Result<(), Unkept> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.shared.push(Item::Settle(sender));
        run(answer).unwrap()
    }

    fn intend(&self, number: usize) -> Result<(), Unkept> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.shared.push(Item::Intent(record(number), sender));
        run(answer).unwrap()
    }

    /// Fails if it does not come about.
    fn wait(&self, condition: impl Fn(&Self) -> bool) {
        let started = SystemClock.instant();
        while !condition(self) {
            assert!(SystemClock.instant() - started < PATIENCE, "it did not come about");
            thread::yield_now();
        }
    }

    fn set_hanging(&self, hangs: bool) {
        *self.world.hangs.lock() = hangs;
        self.world.released.notify_all();
    }

    /// The numbers of the events in the file, in their order.
    fn events(&self) -> Vec<usize> {
        let files = self.world.files.lock();
        let text: Vec<u8> = files.values().flatten().copied().collect();
        let text = String::from_utf8(text).unwrap();
        let names = text.split(r#""eventName":"Event"#).skip(1);
        names.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
    }

    fn end(mut self) -> Arc<World> {
        self.shared.end();
        assert!(self.shared.wait_for_end(PATIENCE));
        self.thread.take().unwrap().join().unwrap();
        Arc::clone(&self.world)
    }
}

#[test]
fn a_full_disk_refuses_changes_first_then_all_and_loses_nothing() {
    let running = Running::start(Limits { buffer_bytes_max: 10_000, ..limits() });
    running.shared.append(record(0));
    running.ask().unwrap();
    running.world.is_full.store(true, Ordering::Relaxed);
    assert_eq!(running.intend(1), Err(Unkept::Full));
    assert_eq!(running.shared.admits(Act::Change), Err(Unkept::Full));
    let mut number = 2;
    while running.shared.admits(Act::Use).is_ok() {
        running.shared.append(record(number));
        number += 1;
    }
    assert_eq!(running.shared.admits(Act::Use), Err(Unkept::Full));
    assert!(running.shared.buffered_bytes() > 10_000);
    assert!(running.ask().is_err());
    running.world.is_full.store(false, Ordering::Relaxed);
    running.wait(|running| running.ask().is_ok());
    assert_eq!(running.events(), (0..number).collect::<Vec<_>>());
    assert_eq!(running.shared.admits(Act::Use).and(running.shared.admits(Act::Change)), Ok(()));
    running.wait(|running| running.shared.buffered_bytes() == 0);
    running.end();
}

#[test]
fn a_disk_that_is_nearly_full_refuses_changes_and_nothing_else() {
    let running = Running::start(Limits { free_bytes_min: 1000, ..limits() });
    running.world.free.store(999, Ordering::Relaxed);
    running.wait(|running| running.shared.admits(Act::Change) == Err(Unkept::Full));
    running.shared.append(record(0));
    assert_eq!((running.ask(), running.shared.admits(Act::Use)), (Ok(()), Ok(())));
    running.world.free.store(1000, Ordering::Relaxed);
    running.wait(|running| running.shared.admits(Act::Change).is_ok());
    running.end();
}

#[test]
fn records_that_are_given_up_are_counted_in_the_trail() {
    let running = Running::start(Limits { buffer_bytes_max: 5000, when_full: WhenFull::Drop, ..limits() });
    running.world.is_full.store(true, Ordering::Relaxed);
    running.intend(0).unwrap_err();
    for number in 1..=200 {
        assert_eq!(running.shared.admits(Act::Use), Ok(()));
        running.shared.append(record(number));
    }
    running.world.is_full.store(false, Ordering::Relaxed);
    running.wait(|running| running.ask().is_ok());
    let kept = running.events();
    let world = running.end();
    let text = String::from_utf8(world.files.lock()[&1].clone()).unwrap();
    assert!(kept.is_sorted() && kept.len() < 201, "{}", kept.len());
    assert!(text.contains(&format!(r#""droppedRecords":{}"#, 201 - kept.len())), "{text}");
}

#[test]
fn a_disk_that_hangs_keeps_what_is_appended_and_refuses_when_that_is_too_much() {
    let running = Running::start(Limits { buffer_bytes_max: 5000, ..limits() });
    running.ask().unwrap();
    running.set_hanging(true);
    let (sender, answer) = tokio::sync::oneshot::channel();
    running.shared.push(Item::Intent(record(0), sender));
    // Its caller goes away when its time is over.
    let waited = run(async { tokio::time::timeout(Duration::from_millis(50), answer).await });
    assert!(waited.is_err());
    for number in 1..=100 {
        running.shared.append(record(number));
    }
    running.wait(|running| running.shared.admits(Act::Use).is_err());
    running.set_hanging(false);
    running.wait(|running| running.ask().is_ok());
    assert_eq!(running.events(), (0..=100).collect::<Vec<_>>());
    assert_eq!(running.shared.admits(Act::Use), Ok(()));
    running.end();
}
