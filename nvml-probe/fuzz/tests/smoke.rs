//! Every target, some thousand times: bytes from a fixed seed, the same each time.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn smoke(target: fn(&[u8]), runs: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut bytes = vec![0_u8; 1024];
    for run in 0..runs {
        random.fill_bytes(&mut bytes);
        target(&bytes[..32 + run % 992]);
    }
    target(&[]);
}

#[test]
fn cgroups() {
    smoke(berth_fuzz::cgroup, 20_000);
}

#[test]
fn streams() {
    smoke(berth_fuzz::stream, 3_000);
}

#[test]
fn cdi_files() {
    smoke(berth_fuzz::cdi, 1_000);
}

#[test]
fn annotations() {
    smoke(berth_fuzz::annotations, 10_000);
}
