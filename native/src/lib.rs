//! The ordinary request and the ordinary round of Fivefold in native code (docs/decisions/0022).
//!
//! Everything here does what the Python machines do, for the inputs that nearly all are of; whatever is not ordinary
//! is left to these. Bytes from peers are parsed without `unsafe`; a panic ends its input and nothing else.

#![deny(unsafe_code)]

#[forbid(unsafe_code)]
pub mod client;
#[forbid(unsafe_code)]
pub mod digests;
#[forbid(unsafe_code)]
pub mod limits;
#[forbid(unsafe_code)]
pub mod ordinary;
#[forbid(unsafe_code)]
pub mod planted;
#[forbid(unsafe_code)]
pub mod request;
#[forbid(unsafe_code)]
pub mod ring;
#[forbid(unsafe_code)]
pub mod wire;

#[cfg(feature = "python")]
mod client_python;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
mod server;
