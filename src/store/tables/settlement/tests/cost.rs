//! What a settlement costs the engine, counted in steps of its machine: the same on every machine, whatever else runs.
//! (Counted instructions of a release would tell of the rest, too; but that is a build of minutes and a tool that not
//! everybody has, and what creeps in here is a statement, an index or a reference.)

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// The steps of a batch, for each of its charges.
fn steps(charges: i64, accounts: usize, limited: bool) -> u64 {
    let conn = Tx::in_memory();
    let (all, provider) = set_up(&conn).unwrap();
    let cast = Cast { accounts: all, provider };
    let batch = |first: i64| {
        let mut together = Settlements::default();
        for row in first..first + charges {
            let by = (usize::try_from(row).unwrap() % accounts, 2);
            let (cost, held, fee, key, once) = (10, 0, 0, 1, None);
            let asked = Asked { by, row, cost, held, fee, key, limited, flagged: false, once, seconds: 0, bad: false };
            together.settle(&conn, &cast.charge(&asked), MicroUsd::ZERO).unwrap();
        }
        together.write(&conn).unwrap();
    };
    // The first one also makes the statements.
    batch(1);
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    let one_more = move || {
        count.fetch_add(1, Ordering::Relaxed);
        false
    };
    conn.engine().progress_handler(1, Some(one_more)).unwrap();
    batch(1_000);
    counted.load(Ordering::Relaxed) / charges.unsigned_abs()
}

#[test]
fn a_settlement_costs_the_engine_what_is_written_here() {
    // charges in a batch, of how many accounts in turn, with a key that has a limit → steps a charge, within 3 %
    let rows = [(1, 1, false, 246), (64, 1, false, 138), (64, 2, false, 137), (64, 1, true, 139)];
    let counted = rows.map(|(charges, accounts, limited, _)| steps(charges, accounts, limited));
    for (row, steps) in rows.iter().zip(counted) {
        assert!(steps.abs_diff(row.3) <= row.3 * 3 / 100, "{row:?}: {steps}; all: {counted:?}");
    }
}
