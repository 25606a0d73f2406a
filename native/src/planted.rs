//! Bugs on purpose: tests/properties/test_native_bugs.py must see each of them. Without the feature `planted` every
//! question is answered `false` when the crate is built, and nothing of this is left in it.

#[cfg(feature = "planted")]
pub fn is_planted(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("FIVEFOLD_PLANTED").unwrap_or_default()) == name
}

#[cfg(not(feature = "planted"))]
#[inline(always)]
pub fn is_planted(_name: &str) -> bool {
    false
}
