//! Bugs on purpose: tests/properties/test_native_frames.py must see each of the server's half, and
//! test_native_client_bugs.py each of the client's. Without the feature `planted` every
//! question is answered `false` when the crate is built, and nothing of this is left in it.

#[cfg(feature = "planted")]
static NAME: std::sync::RwLock<String> = std::sync::RwLock::new(String::new());

/// Plant this bug from now on, instead of the one before; an empty name plants none.
#[cfg(feature = "planted")]
pub fn plant(name: &str) {
    if let Ok(mut planted) = NAME.write() {
        *planted = name.to_owned();
    }
}

#[cfg(feature = "planted")]
pub fn is_planted(name: &str) -> bool {
    NAME.read().is_ok_and(|planted| *planted == name)
}

#[cfg(not(feature = "planted"))]
#[inline(always)]
pub fn is_planted(_name: &str) -> bool {
    false
}
