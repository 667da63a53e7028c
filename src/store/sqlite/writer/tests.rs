//! The writer's own promises: failures stay alone, batches keep their order, a full disk is survived.

use std::sync::mpsc;

use std::time::{Duration, Instant};

use super::thread::BATCH;
use super::*;
use crate::store::sqlite::ballast::BALLAST_BYTES;

struct World {
    store: Store,
    writer: Writer,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    let (writer, _thread) = Writer::start(&store).unwrap();
    World { store, writer, _dir: dir }
}

impl World {
    /// Queues a write and returns where its answer will be.
    fn queue(
        &self,
        write: impl FnMut(&Tx) -> Result<i64, StoreError> + Send + 'static,
    ) -> mpsc::Receiver<Result<i64, StoreError>> {
        let (answer, answered) = mpsc::channel();
        self.writer.submit(write, move |result| answer.send(result).unwrap());
        answered
    }

    fn run(&self, write: impl FnMut(&Tx) -> Result<i64, StoreError> + Send + 'static) -> Result<i64, StoreError> {
        self.queue(write).recv().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let list = |conn: &crate::store::Read| {
            let mut statement = conn.prepare("SELECT name FROM admins ORDER BY id")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        };
        self.store.read_inline(list).unwrap()
    }

    fn ballast(&self) -> u64 {
        std::fs::metadata(self.store.dir().join("ballast")).map_or(0, |m| m.len())
    }
}

fn add(conn: &Tx, name: &str) -> Result<i64, StoreError> {
    Ok(conn.execute("INSERT INTO admins (name, created_at) VALUES (?1, 0)", [name])?.try_into().unwrap())
}

#[test]
fn a_job_that_fails_takes_nothing_of_the_others_with_it() {
    let world = world();
    // Held up by the first, the others share a commit.
    let first = world.queue(|conn| {
        std::thread::sleep(Duration::from_millis(50));
        add(conn, "first")
    });
    let answers: Vec<_> = (0..2 * BATCH)
        .map(|n| {
            world.queue(move |conn| {
                let done = add(conn, &format!("n{n}"))?;
                if n % 3 == 1 { Err(StoreError::Invalid("after it wrote".into())) } else { Ok(done) }
            })
        })
        .collect();
    assert_eq!(first.recv().unwrap().unwrap(), 1);
    for (n, answer) in answers.iter().enumerate() {
        let answer = answer.recv().unwrap();
        assert_eq!(answer.is_err(), n % 3 == 1, "{n}: {answer:?}");
        assert!(!matches!(answer, Err(ref e) if !matches!(e, StoreError::Invalid(_))), "{n}: {answer:?}");
    }
    let kept = (0..2 * BATCH).filter(|n| n % 3 != 1).map(|n| format!("n{n}"));
    assert_eq!(world.names(), std::iter::once("first".to_owned()).chain(kept).collect::<Vec<_>>());
    assert_eq!(world.run(|conn| add(conn, "later")).unwrap(), 1, "no transaction is left open");
}

#[test]
fn a_full_disk_frees_the_ballast_and_is_left_behind_when_there_is_room() {
    let world = world();
    assert_eq!((world.ballast(), world.writer.disk_is_full()), (BALLAST_BYTES, false));
    assert_eq!(BALLAST_BYTES, 4 * 1024 * 1024);
    // SQLite answers a page too many as it does a disk without room.
    let limit = |pages: i64| {
        move |conn: &Tx| Ok(conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0))?)
    };
    world.run(limit(1)).unwrap();
    let long = "x".repeat(190);
    let full = world.run(move |conn| (0..1_000).map(|n| add(conn, &format!("{long}{n}"))).sum());
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    assert_eq!((world.ballast(), world.writer.disk_is_full()), (0, true));
    // What fits is still written, and nothing of what failed is there.
    assert_eq!(world.run(|conn| add(conn, "small")).unwrap(), 1);
    assert_eq!(world.names(), ["small"]);
    world.run(limit(1_000_000)).unwrap();
    // Writes that never pause must not keep it from looking.
    let freed = Instant::now();
    while world.writer.disk_is_full() && freed.elapsed() < Duration::from_secs(20) {
        world.run(|_| Ok(0)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((world.ballast(), world.writer.disk_is_full()), (BALLAST_BYTES, false));
}

#[test]
fn room_is_also_found_when_nobody_writes() {
    let world = world();
    world.writer.disk_full.store(true, Ordering::Relaxed);
    world.run(|_| Ok(0)).unwrap();
    let began = Instant::now();
    while world.writer.disk_is_full() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!world.writer.disk_is_full());
}
