//! The server's half: decides ordinary requests for `protocol/server/native.py`. The replicas stay Python's; what is
//! needed of one is read from it, and what a request makes of it is returned. Nothing is changed here but the numbers
//! and the memory of requests, which have to be noted before a method is run.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::digests::{DIGEST_BYTES, MAC_BYTES};
use crate::ordinary::{self, Executor, Own, Ran};
use crate::python::{Macs, guarded};
use crate::request::Request;
use crate::ring::{Next, Recorded, Version};

/// A time as Python has it, which mostly has fewer than 64 bits.
fn time(value: &Bound<'_, PyAny>) -> PyResult<u128> {
    match value.extract::<u64>() {
        Ok(small) => Ok(u128::from(small)),
        Err(_) => value.extract(),
    }
}

/// What keeps the bytes of a version alive while they are looked at.
struct Held<'py> {
    number: u64,
    times: (u128, u128),
    state: Bound<'py, PyBytes>,
    outcomes: Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>,
    ring: Bound<'py, PyAny>,
    ring_bytes: (Bound<'py, PyBytes>, Bound<'py, PyBytes>),
    recent: (Bound<'py, PyBytes>, Bound<'py, PyBytes>),
}

fn bytes_of<'py>(
    of: &Bound<'py, PyAny>,
    name: &Bound<'py, pyo3::types::PyString>,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(of.getattr(name)?.cast_into::<PyBytes>()?)
}

impl<'py> Held<'py> {
    fn read(py: Python<'py>, version: &Bound<'py, PyAny>) -> PyResult<Self> {
        let outcomes = version.getattr(intern!(py, "outcomes"))?.cast_into::<PyTuple>()?;
        let ring = version.getattr(intern!(py, "ring"))?;
        Ok(Held {
            number: version.getattr(intern!(py, "number"))?.extract()?,
            times: (
                time(&version.getattr(intern!(py, "horizon"))?)?,
                time(&version.getattr(intern!(py, "orphaned"))?)?,
            ),
            state: bytes_of(version, intern!(py, "state"))?,
            outcomes: outcomes
                .iter()
                .map(|each| {
                    Ok((
                        bytes_of(&each, intern!(py, "key"))?,
                        bytes_of(&each, intern!(py, "answer"))?,
                    ))
                })
                .collect::<PyResult<_>>()?,
            ring_bytes: (
                bytes_of(&ring, intern!(py, "entries"))?,
                bytes_of(&ring, intern!(py, "answers"))?,
            ),
            ring,
            recent: (
                bytes_of(version, intern!(py, "recent"))?,
                bytes_of(version, intern!(py, "recent_answers"))?,
            ),
        })
    }

    fn version(&self) -> Version<'_> {
        Version {
            number: self.number,
            horizon: self.times.0,
            orphaned: self.times.1,
            state: self.state.as_bytes(),
            outcomes: (self.outcomes.iter())
                .map(|(key, answer)| Recorded {
                    key: key.as_bytes(),
                    answer: answer.as_bytes(),
                })
                .collect(),
            ring_entries: self.ring_bytes.0.as_bytes(),
            ring_answers: self.ring_bytes.1.as_bytes(),
            recent: self.recent.0.as_bytes(),
            recent_answers: self.recent.1.as_bytes(),
        }
    }
}

/// Runs calls by a Python executor.
struct Calls<'py> {
    py: Python<'py>,
    executor: Bound<'py, PyAny>,
    objects: Bound<'py, PyAny>,
    calls: Bound<'py, PyTuple>,
}

impl Executor for Calls<'_> {
    type Failure = PyErr;

    fn execute(&mut self, place: usize, state: &[u8]) -> PyResult<Ran> {
        let py = self.py;
        let states = PyTuple::new(py, [PyBytes::new(py, state)])?;
        let arguments = (&self.objects, self.calls.get_item(place)?, states);
        let done = self.executor.call_method1(intern!(py, "execute"), arguments)?;
        let answer = bytes_of(&done, intern!(py, "answer"))?.as_bytes().to_vec();
        let states = done.getattr(intern!(py, "states"))?;
        if states.is_none() {
            return Ok((answer, None));
        }
        let state = states.cast::<PyTuple>()?.get_item(0)?;
        Ok((answer, Some(state.cast::<PyBytes>()?.as_bytes().to_vec())))
    }
}

/// Decides ordinary requests of one server.
#[pyclass(frozen)]
pub struct Requests {
    n: usize,
    q: usize,
    numbers: Py<PyDict>,
    hot: Py<PyDict>,
    asked: Py<PyAny>,
    prepare: Py<PyAny>,
    decode_operation: Py<PyAny>,
    version: Py<PyAny>,
    ring: Py<PyAny>,
    recorded: Py<PyAny>,
    histories: Py<PyAny>,
}

type Decided<'py> = (
    u64,                       // the request's number
    Bound<'py, PyAny>,         // the replica
    Bound<'py, PyAny>,         // the history set that was verified
    Bound<'py, PyBytes>,       // the candidate's timestamp
    Option<Bound<'py, PyAny>>, // the new version; None if nothing is to be written
    Bound<'py, PyBytes>,       // the history afterwards
    usize,                     // where its last entry begins
    Bound<'py, PyBytes>,       // all MACs over it
    Bound<'py, PyBytes>,       // the reply frame
);

#[pymethods]
impl Requests {
    /// `prepare(client, operation)` gives what runs it and whether it is a query, or None if it is not to be run;
    /// `types` are the records Version, Ring, Recorded and ObjectHistories.
    #[new]
    #[pyo3(signature = (n, q, *, numbers, hot, asked, prepare, decode_operation, types))]
    #[allow(clippy::too_many_arguments)] // named in Python
    fn new(
        n: usize,
        q: usize,
        numbers: Py<PyDict>,
        hot: Py<PyDict>,
        asked: Py<PyAny>,
        prepare: Py<PyAny>,
        decode_operation: Py<PyAny>,
        types: (Py<PyAny>, Py<PyAny>, Py<PyAny>, Py<PyAny>),
    ) -> Self {
        let (version, ring, recorded, histories) = types;
        Requests {
            n,
            q,
            numbers,
            hot,
            asked,
            prepare,
            decode_operation,
            version,
            ring,
            recorded,
            histories,
        }
    }

    /// What a frame comes to; None if it is not an ordinary request, and then nothing has been noted.
    fn decide<'py>(
        &self,
        py: Python<'py>,
        now_ns: &Bound<'py, PyAny>,
        client: &Bound<'py, PyBytes>,
        channel: &Bound<'py, PyAny>,
        frame: &Bound<'py, PyBytes>,
        macs_of: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Decided<'py>>> {
        guarded(|| self.decide_unguarded(py, now_ns, client, channel, frame, macs_of))
    }
}

impl Requests {
    fn decide_unguarded<'py>(
        &self,
        py: Python<'py>,
        now_ns: &Bound<'py, PyAny>,
        client: &Bound<'py, PyBytes>,
        channel: &Bound<'py, PyAny>,
        frame: &Bound<'py, PyBytes>,
        macs_of: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Decided<'py>>> {
        let Ok(request) = Request::read(frame.as_bytes(), self.n) else {
            return Ok(None);
        };
        let numbers = self.numbers.bind(py);
        let before = numbers.get_item(channel)?;
        if request.number <= before.as_ref().map_or(Ok(0), |number| number.extract())? {
            return Ok(None);
        }
        let Some(replica) = self.hot.bind(py).get_item(request.object_id)? else {
            return Ok(None);
        };
        if !replica.getattr(intern!(py, "is_plain"))?.is_truthy()? {
            return Ok(None);
        }
        let history = bytes_of(&replica, intern!(py, "history"))?;
        if history.as_bytes() != request.history && !crate::planted::is_planted("history") {
            return Ok(None); // before MACs are made that nobody has asked for yet
        }
        let latest = bytes_of(&replica, intern!(py, "latest"))?;
        let versions = replica.getattr(intern!(py, "versions"))?.cast_into::<PyDict>()?;
        let Some(version) = versions.get_item(&latest)? else {
            return Ok(None);
        };
        let macs = match replica.getattr(intern!(py, "macs"))?.cast_into::<PyBytes>() {
            Ok(macs) => macs,
            Err(_) => {
                let made = self.macs(py, macs_of, request.object_id, history.as_bytes())?;
                replica.setattr(intern!(py, "macs"), &made)?;
                made
            }
        };
        let own = Own {
            history: history.as_bytes(),
            last_at: replica.getattr(intern!(py, "last_at"))?.extract()?,
            latest: latest.as_bytes(),
            macs: macs.as_bytes(),
        };
        if own.macs.len() != 2 * self.n * MAC_BYTES
            || !ordinary::is_ordinary(&request, &own, client.as_bytes(), self.n, self.q)
        {
            return Ok(None);
        }
        let Some((timestamp, at)) = ordinary::timestamp_of(&request, &own, client.as_bytes()) else {
            return Ok(None);
        };
        let operation = self
            .decode_operation
            .bind(py)
            .call1((PyBytes::new(py, request.operation),))?;
        let prepared = self.prepare.bind(py).call1((client, &operation))?;
        if prepared.is_none() {
            return Ok(None);
        }
        let (executor, is_query): (Bound<'py, PyAny>, bool) = prepared.extract()?;
        let held = Held::read(py, &version)?;
        let objects = operation.getattr(intern!(py, "objects"))?;
        let calls = operation.getattr(intern!(py, "calls"))?.cast_into::<PyTuple>()?;
        // From here on it is taken: noted before a method of somebody's runs, as in Python.
        numbers.set_item(channel, request.number)?;
        self.asked
            .bind(py)
            .call_method1(intern!(py, "append"), ((now_ns, client, objects.get_item(0)?),))?;
        executor.call_method0(intern!(py, "begin"))?;
        let view = held.version();
        let mut runner = Calls {
            py,
            executor,
            objects,
            calls,
        };
        let done = ordinary::run(&mut runner, client.as_bytes(), &request.calls, &view, is_query)?;
        let object_id = runner.objects.get_item(0)?;
        let verified =
            self.histories
                .bind(py)
                .call1((&object_id, (&history,), PyBytes::new(py, request.holders)))?;
        let n_macs = self.n * MAC_BYTES;
        let Some((state, outcomes)) = &done.made else {
            let reply = ordinary::reply_to(
                request.number,
                &done,
                &timestamp,
                b"",
                own.history,
                &own.macs[..n_macs],
            );
            let (timestamp, reply) = (PyBytes::new(py, &timestamp), PyBytes::new(py, &reply));
            let last_at = own.last_at;
            let result = (
                request.number,
                replica,
                verified,
                timestamp,
                None,
                history,
                last_at,
                macs,
                reply,
            );
            return Ok(Some(result));
        };
        let Some(next) = view.append(at, outcomes) else {
            numbers.set_item(channel, before)?; // what is wrong with the version, Python will say
            return Ok(None);
        };
        let (made, last_at) = ordinary::next_history(request.object_id, &own, &timestamp);
        let macs = self.macs(py, macs_of, request.object_id, &made)?;
        let told = ordinary::version_digest(&next, state, outcomes);
        let authenticator = &macs.as_bytes()[..n_macs];
        let reply = ordinary::reply_to(request.number, &done, &timestamp, &told, &made, authenticator);
        let version = self.next_version(py, next, state, outcomes, &held.ring)?;
        Ok(Some((
            request.number,
            replica,
            verified,
            PyBytes::new(py, &timestamp),
            Some(version),
            PyBytes::new(py, &made),
            last_at,
            macs,
            PyBytes::new(py, &reply),
        )))
    }

    /// All MACs over a history: by native code where the keys are.
    fn macs<'py>(
        &self,
        py: Python<'py>,
        macs_of: &Bound<'py, PyAny>,
        object_id: &str,
        history: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let digest: [u8; DIGEST_BYTES] = ordinary::history_digest(object_id, history);
        match macs_of.cast::<Macs>() {
            Ok(macs) => Ok(PyBytes::new(py, &macs.get().inner.of(&digest))),
            Err(_) => Ok(macs_of
                .call1((PyBytes::new(py, &digest),))?
                .cast_into::<PyBytes>()?),
        }
    }

    fn next_version<'py>(
        &self,
        py: Python<'py>,
        next: Next,
        state: &[u8],
        outcomes: &[(Vec<u8>, Vec<u8>)],
        ring: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let recorded = self.recorded.bind(py);
        let outcomes = (outcomes.iter())
            .map(|(key, answer)| recorded.call1((PyBytes::new(py, key), PyBytes::new(py, answer))))
            .collect::<PyResult<Vec<_>>>()?;
        let ring = match next.ring {
            None => ring.clone(),
            Some(ring) => self.ring.bind(py).call1((
                PyBytes::new(py, &ring.name),
                PyBytes::new(py, &ring.entries),
                PyBytes::new(py, &ring.answers),
            ))?,
        };
        self.version.bind(py).call1((
            next.number,
            next.horizon,
            PyBytes::new(py, state),
            PyTuple::new(py, outcomes)?,
            ring,
            PyBytes::new(py, &next.recent),
            PyBytes::new(py, &next.recent_answers),
            next.orphaned,
        ))
    }
}
