//! What Python sees of the client's ordinary rounds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyTuple};

use crate::client::{Call, Heard, Operation, Round, Rounds, Set, Shown, number_of, put_column, request_head};

type OpenRound = Round<Py<PyAny>, PyBackedBytes>;

/// A logical time of a message: a number, or its 16 bytes (`protocol/times.py`).
fn time_of(value: &Bound<'_, PyAny>) -> PyResult<u128> {
    if value.is_instance_of::<PyInt>() {
        return value.extract();
    }
    let data: PyBackedBytes = value.extract()?;
    let data: [u8; 16] = data[..]
        .try_into()
        .map_err(|_| PyRuntimeError::new_err("a time has 16 bytes"))?;
    Ok(u128::from_be_bytes(data))
}

struct OwnedSet {
    object_id: PyBackedStr,
    histories: Vec<PyBackedBytes>,
    holders: PyBackedBytes,
}

impl OwnedSet {
    fn of(set: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = set.py();
        Ok(OwnedSet {
            object_id: set.getattr(intern!(py, "object_id"))?.extract()?,
            histories: set.getattr(intern!(py, "histories"))?.extract()?,
            holders: set.getattr(intern!(py, "holders"))?.extract()?,
        })
    }

    fn borrowed(&self) -> Set<'_> {
        let histories = self.histories.iter().map(|each| &each[..]).collect();
        Set {
            object_id: &self.object_id,
            histories,
            holders: &self.holders,
        }
    }
}

struct OwnedCall {
    id: PyBackedBytes,
    since: u128,
    method: PyBackedStr,
    arguments: PyBackedBytes,
}

impl OwnedCall {
    fn of(call: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = call.py();
        Ok(OwnedCall {
            id: call.getattr(intern!(py, "id"))?.extract()?,
            since: time_of(&call.getattr(intern!(py, "since"))?)?,
            method: call.getattr(intern!(py, "method"))?.extract()?,
            arguments: call.getattr(intern!(py, "arguments"))?.extract()?,
        })
    }

    fn borrowed(&self) -> Call<'_> {
        Call {
            id: &self.id,
            since: self.since,
            method: &self.method,
            arguments: &self.arguments,
        }
    }
}

/// The ordinary rounds of one client.
#[pyclass]
pub struct OrdinaryRounds {
    n: usize,
    rounds: Rounds<Py<PyAny>, PyBackedBytes>,
    panics: u64,
}

impl OrdinaryRounds {
    /// A panic ends the native part of the round whose reply it was, and nothing else.
    fn hear(&mut self, server: usize, frame: &Bound<'_, PyBytes>) -> Heard<Py<PyAny>, PyBackedBytes> {
        let rounds = &mut self.rounds;
        let kept = || PyBackedBytes::from(frame.clone());
        catch_unwind(AssertUnwindSafe(|| rounds.hear(server, kept()))).unwrap_or_else(|_| {
            self.panics += 1;
            match number_of(frame.as_bytes()).and_then(|number| rounds.close(number)) {
                Some(round) => Heard::Other(round, kept()), // also if it has kept the reply: it is counted once
                None => Heard::Unknown(kept()),
            }
        })
    }
}

#[pymethods]
impl OrdinaryRounds {
    #[new]
    fn new(n: usize, q: usize) -> Self {
        OrdinaryRounds {
            n,
            rounds: Rounds::new(n, q),
            panics: 0,
        }
    }

    /// Opens a round of an operation; returns the frames for these servers.
    #[allow(clippy::too_many_arguments)]
    fn open<'py>(
        &mut self,
        number: u64,
        tag: Bound<'py, PyAny>,
        sets: &Bound<'py, PyTuple>,
        authenticators: &[u8],
        operation: &Bound<'py, PyAny>,
        since: u128,
        attempt: u64,
        servers: Vec<usize>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let py = tag.py();
        let owned_sets = sets
            .iter()
            .map(|each| OwnedSet::of(&each))
            .collect::<PyResult<Vec<_>>>()?;
        let objects: Vec<PyBackedStr> = operation.getattr(intern!(py, "objects"))?.extract()?;
        let calls = operation.getattr(intern!(py, "calls"))?;
        let calls = calls
            .cast::<PyTuple>()?
            .iter()
            .map(|each| OwnedCall::of(&each))
            .collect::<PyResult<Vec<_>>>()?;
        let code: PyBackedBytes = operation.getattr(intern!(py, "code"))?.extract()?;
        let head = request_head(
            number,
            &owned_sets.iter().map(OwnedSet::borrowed).collect::<Vec<_>>(),
            &Operation {
                objects: objects.iter().map(|each| &**each).collect(),
                calls: calls.iter().map(OwnedCall::borrowed).collect(),
                code: &code,
            },
            since,
            attempt,
        );
        let size = head.len() + authenticators.len() / self.n;
        let made = servers.iter().map(|server| {
            PyBytes::new_with(py, size, |frame| {
                let (front, column) = frame.split_at_mut(head.len());
                front.copy_from_slice(&head);
                put_column(column, authenticators, self.n, *server);
                Ok(())
            })
        });
        let frames = made.collect::<PyResult<Vec<_>>>()?;
        self.rounds
            .open(number, tag.unbind(), servers, owned_sets.len(), calls.len());
        Ok(frames)
    }

    /// Frames of a server, in the order in which they came: what is to be done about them, in this order.
    fn receive<'py>(
        &mut self,
        py: Python<'py>,
        server: usize,
        frames: &Bound<'py, PyTuple>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let mut found: Option<Bound<'py, PyList>> = None;
        for frame in frames {
            let event = match self.hear(server, frame.cast()?) {
                Heard::Kept => continue,
                Heard::Unknown(_) => event(py, None, Some(frame), None)?,
                Heard::Other(round, _) => event(py, Some(round), Some(frame), None)?,
                Heard::Enough(round, shown) => event(py, Some(round), None, shown)?,
            };
            match &found {
                Some(list) => list.append(event)?,
                None => found = Some(PyList::new(py, [event])?),
            }
        }
        Ok(found)
    }

    /// Gives a round back: the replies that it has kept; None if it has been given back already.
    fn close<'py>(&mut self, py: Python<'py>, number: u64) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.rounds
            .close(number)
            .map(|round| kept_of(py, &round))
            .transpose()
    }

    /// How many panics have been caught; each ended the native part of one round.
    #[getter]
    fn panics(&self) -> u64 {
        self.panics
    }

    fn __len__(&self) -> usize {
        self.rounds.len()
    }
}

/// A round's tag, the frame to look at, the replies kept before it, and what all of them say.
fn event<'py>(
    py: Python<'py>,
    round: Option<OpenRound>,
    frame: Option<Bound<'py, PyAny>>,
    shown: Option<Shown>,
) -> PyResult<Bound<'py, PyTuple>> {
    let nothing = || py.None().into_bound(py);
    let kept = round
        .as_ref()
        .map_or_else(|| Ok(PyDict::new(py)), |round| kept_of(py, round))?;
    let shown = shown.map(|shown| told(py, shown)).transpose()?;
    PyTuple::new(
        py,
        [
            round.map_or_else(nothing, |round| round.tag.into_bound(py)),
            frame.unwrap_or_else(nothing),
            kept.into_any(),
            shown.map_or_else(nothing, Bound::into_any),
        ],
    )
}

fn kept_of<'py>(py: Python<'py>, round: &OpenRound) -> PyResult<Bound<'py, PyDict>> {
    let kept = PyDict::new(py);
    for (server, frame) in &round.kept {
        kept.set_item(server, frame)?;
    }
    Ok(kept)
}

fn told<'py>(py: Python<'py>, shown: Shown) -> PyResult<Bound<'py, PyTuple>> {
    let strings = |all: &[Vec<u8>]| PyTuple::new(py, all.iter().map(|each| PyBytes::new(py, each)));
    (
        shown.status,
        strings(&shown.answers)?,
        shown.time,
        strings(&shown.histories)?,
        PyBytes::new(py, &shown.holders),
        strings(&shown.rows)?,
    )
        .into_pyobject(py)
}
