//! Runs a test on what a strategy makes.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Why a world does not load that the product refuses because some of it could never apply. Such worlds are left out;
/// a run ends in failure if it meets more of them than of others.
pub const SENSELESS: &str = "some of this world could never apply";

/// Runs a test on as many cases as are asked for, all made from a seed. A case that fails is made smaller while it still
/// fails, and then told.
pub fn run<S: Strategy>(
    seed: u64,
    cases: usize,
    strategy: &S,
    tell: impl Fn(&S::Value) -> String,
    test: impl Fn(&S::Value) -> Result<(), String>,
) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_global_rejects: u32::try_from(cases).unwrap(),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let failed = |why: String| if why == SENSELESS { TestCaseError::reject(why) } else { TestCaseError::fail(why) };
    match runner.run(strategy, |case| test(&case).map_err(failed)) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("seed {seed}: {why}\n{}", tell(&case)),
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}
