//! The boundary: what Python sees. PyO3 turns a panic into an exception (`PanicException`, a BaseException), so what may
//! meet a peer's bytes goes through `guarded`, which turns it into an ordinary one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::create_exception;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::digests;

create_exception!(
    fivefold_native,
    Panicked,
    PyRuntimeError,
    "A bug in native code: nothing was done."
);

/// Runs what looks at a peer's bytes: a panic becomes `Panicked`, which ends this input and nothing else.
pub fn guarded<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Panicked::new_err("a panic in native code")))
}

/// `protocol.operations.digest`.
#[pyfunction]
fn digest<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &digests::digest(&[data]))
}

/// What `cluster.macs.macs_under` returns: of a digest, its MACs under some secrets, which are never shown.
#[pyclass(frozen)]
pub struct Macs {
    pub inner: digests::Macs,
}

#[pymethods]
impl Macs {
    #[new]
    fn new(secrets: Vec<Vec<u8>>) -> PyResult<Self> {
        let inner = digests::Macs::under(&secrets);
        Ok(Macs {
            inner: inner.ok_or_else(|| PyAssertionError::new_err("a secret has 32 bytes"))?,
        })
    }

    fn __call__<'py>(&self, py: Python<'py>, digest: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let digest = digest
            .try_into()
            .map_err(|_| PyAssertionError::new_err("a digest has 32 bytes"))?;
        Ok(PyBytes::new(py, &self.inner.of(digest)))
    }
}

/// Plants a bug, in a build that has them (`IS_PLANTED`).
#[pyfunction]
fn plant(name: &str) {
    #[cfg(feature = "planted")]
    crate::planted::plant(name);
    let _ = name;
}

#[pymodule]
mod fivefold_native {
    #[pymodule_export]
    use super::{Macs, Panicked, digest, plant};
    #[pymodule_export]
    use crate::client_python::OrdinaryRounds;
    #[pymodule_export]
    use crate::server::Requests;

    use pyo3::prelude::*;

    /// That of the distribution, which must be Fivefold's own.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
        module.add("LIMITS", crate::limits::ALL.to_vec())?;
        module.add("IS_PLANTED", cfg!(feature = "planted"))
    }
}
