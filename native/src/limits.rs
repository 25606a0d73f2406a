//! Bounds of `protocol/limits.py` that the ordinary request meets; tests/unit/test_native.py compares the two.

pub const OBJECT_ID_BYTES_MAX: usize = 256;
pub const METHOD_BYTES_MAX: usize = 128;
pub const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;
pub const ANSWERS_BYTES_MAX: usize = 2 * 1024 * 1024;
pub const CODE_BYTES_MAX: usize = 16 * 17;
pub const CALLS_MAX: usize = 16;
pub const CALL_ID_BYTES: usize = 16;
pub const RING_ENTRIES: usize = 64;
pub const RING_RECENT: usize = 16;
pub const RING_ANSWER_BYTES_MAX: usize = 128;

/// By name, for that test.
pub const ALL: [(&str, usize); 9] = [
    ("OBJECT_ID_BYTES_MAX", OBJECT_ID_BYTES_MAX),
    ("METHOD_BYTES_MAX", METHOD_BYTES_MAX),
    ("ARGUMENTS_BYTES_MAX", ARGUMENTS_BYTES_MAX),
    ("ANSWERS_BYTES_MAX", ANSWERS_BYTES_MAX),
    ("CODE_BYTES_MAX", CODE_BYTES_MAX),
    ("CALLS_MAX", CALLS_MAX),
    ("RING_ENTRIES", RING_ENTRIES),
    ("RING_RECENT", RING_RECENT),
    ("RING_ANSWER_BYTES_MAX", RING_ANSWER_BYTES_MAX),
];
