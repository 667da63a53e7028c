//! What nobody writes down, from the thing itself to the webhook: a disk that fills, a certificate that ends.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::alerts::{events, hook, kinds, put, receiver, told};
use crate::world::answer::honest;
use crate::world::upstream::Upstream;
use crate::world::{World, eventually, micro, text};

/// Longer than it takes until everything is looked at once more.
const A_ROUND: Duration = Duration::from_secs(7);

/// A world whose alerts go to a webhook, not started; and its admin's key.
fn alerted(receiver: &Upstream) -> (World, String) {
    let mut world = World::unstarted("0", honest(100, 20));
    let admin = world.server.admin_key();
    world.server.start(&[]);
    put(&world, &admin, &hook(receiver)).expect(200);
    world.server.stop();
    (world, admin)
}

/// What is wrong now, as far as the server has written it down.
fn wrong(world: &World) -> i64 {
    world.server.number("select count(*) from alert_states")
}

/// Holds for a round: no alert beside those.
fn stays(receiver: &Upstream, expected: &[&str]) {
    std::thread::sleep(A_ROUND);
    assert_eq!(kinds(receiver), expected);
}

/// The last alert has arrived, and is known to have.
fn is_delivered(world: &World, admin: &str) {
    eventually("the delivery to be noted", || events(world, admin)[0]["deliveries"][0]["state"] == "delivered");
}

/// A disk of memory that can be made larger and smaller. It goes when this does.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Of so many MiB; `None` where nothing may be mounted.
    fn new(mib: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        if disk.mount(&["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "none"]) {
            return Some(disk);
        }
        eprintln!("skipped: no disk can be mounted here: that takes root");
        None
    }

    fn mount(&self, args: &[&str]) -> bool {
        let done = Command::new("mount").args(args).arg(self.0.path()).output();
        done.is_ok_and(|output| output.status.success())
    }

    fn resize(&self, mib: u32) {
        assert!(self.mount(&["-o", &format!("remount,size={mib}m")]), "it cannot be made of {mib} MiB");
    }

    /// Puts a data directory there, and a link where it was.
    fn take(&self, data: &Path) {
        let there = self.0.path().join("data");
        let copied = Command::new("cp").arg("-a").args([data, &there]).status().unwrap();
        assert!(copied.success());
        fs::remove_dir_all(data).unwrap();
        std::os::unix::fs::symlink(there, data).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_fills_is_told_once_until_there_is_a_good_deal_of_room_again() {
    let Some(disk) = Disk::new(2_000) else { return };
    let receiver = receiver();
    let (mut world, admin) = alerted(&receiver);
    disk.take(&world.server.data_dir());
    world.server.start(&[]);
    stays(&receiver, &[]);
    disk.resize(700);
    eventually("the disk to be told of", || kinds(&receiver) == ["disk.low"]);
    let data = told(&receiver)[0].1["data"].clone();
    let (bytes, mib) = (micro(&data, "free_bytes"), micro(&data, "free_mib"));
    assert!((600..700).contains(&mib) && bytes / (1 << 20) == mib, "{data}");
    is_delivered(&world, &admin);
    // Neither less room nor a little more is news, nor is a start with it as it is.
    disk.resize(600);
    stays(&receiver, &["disk.low"]);
    assert!(world.server.stop().success());
    disk.resize(1_200);
    world.server.start(&[]);
    stays(&receiver, &["disk.low"]);
    assert_eq!(wrong(&world), 1);
    // Well again, which is not told, and low again, which is.
    disk.resize(2_000);
    eventually("the disk to be well", || wrong(&world) == 0);
    assert_eq!(kinds(&receiver), ["disk.low"]);
    disk.resize(700);
    eventually("the disk to be told of again", || kinds(&receiver) == ["disk.low", "disk.low"]);
}

/// Puts a certificate there of which so many days are over, and so many left; gives its end.
pub fn certificate(dir: &Path, over: i64, left: i64) -> OffsetDateTime {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let mut params = CertificateParams::new(vec!["ai.example.test".to_owned()]).unwrap();
    params.not_before = now - time::Duration::days(over);
    params.not_after = now + time::Duration::days(left);
    let key = KeyPair::generate().unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(dir.join("chain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    params.not_after
}

#[test]
fn a_certificate_that_ends_is_told_at_once_and_once_until_there_is_another() {
    let receiver = receiver();
    let (mut world, _) = alerted(&receiver);
    let dir = world.server.beside("tls");
    fs::create_dir(&dir).unwrap();
    let (chain, key) = (dir.join("chain.pem"), dir.join("key.pem"));
    let files = ["--tls-cert", chain.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let end = certificate(&dir, 87, 3);
    world.server.start(&files);
    eventually("the certificate to be told of", || kinds(&receiver) == ["certificate.expiring"]);
    let until = |body: &Value| OffsetDateTime::parse(&text(&body["data"], "until"), &Rfc3339).unwrap();
    assert_eq!(until(&told(&receiver)[0].1), end);
    eventually("the delivery to be noted", || {
        world.server.number("select count(*) from alert_deliveries where state = 'delivered'") == 1
    });
    assert!(world.server.stop().success());
    world.server.start(&files);
    stays(&receiver, &["certificate.expiring"]);
    // A new one is read while the server runs; what is left of it is much by its own measure.
    certificate(&dir, 1, 6);
    eventually("the certificate to be well", || wrong(&world) == 0);
    stays(&receiver, &["certificate.expiring"]);
    certificate(&dir, 80, 10);
    eventually("the next one to be told of", || kinds(&receiver).len() == 2);
    assert_eq!(kinds(&receiver)[1], "certificate.expiring");
}
