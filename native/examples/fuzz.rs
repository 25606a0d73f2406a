//! Spoilt frames against real histories: `cargo run --release --no-default-features --example fuzz -- COUNT [SEED]`.
//!
//! The corpus (`corpus/`, written by tests/native_rig.py) has frames, each with what the server held. A frame is spoilt
//! by a few edits and worked out as far as it goes, with a method that echoes. Nothing may panic, and what is taken must
//! be canonical: written again from its parts, it is the same frame.

#![forbid(unsafe_code)]

use fivefold_native::digests::MAC_BYTES;
use fivefold_native::ordinary::{self, Executor, Own, Ran};
use fivefold_native::request::Request;
use fivefold_native::ring::Version;
use fivefold_native::wire::{Read, Reader, Writer};

struct Case {
    n: usize,
    frame: Vec<u8>,
    client: Vec<u8>,
    history: Vec<u8>,
    last_at: usize,
    latest: Vec<u8>,
    macs: Vec<u8>,
    number: u64,
    times: (u128, u128),
    /// State, ring entries and answers, recent calls and answers.
    parts: Vec<Vec<u8>>,
}

fn read_case(data: &[u8]) -> Read<Case> {
    let mut reader = Reader::new(data);
    reader.array_of(15)?;
    let n = reader.unsigned()? as usize;
    let frame = reader.binary()?.to_vec();
    let client = reader.binary()?.to_vec();
    let history = reader.binary()?.to_vec();
    let last_at = reader.unsigned()? as usize;
    let latest = reader.binary()?.to_vec();
    let macs = reader.binary()?.to_vec();
    let number = reader.unsigned()?;
    let times = (reader.time()?, reader.time()?);
    let parts = (0..5)
        .map(|_| reader.binary().map(<[u8]>::to_vec))
        .collect::<Read<_>>()?;
    reader.end()?;
    Ok(Case {
        n,
        frame,
        client,
        history,
        last_at,
        latest,
        macs,
        number,
        times,
        parts,
    })
}

/// SplitMix64: enough to choose edits by.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn spoil(random: &mut Random, frame: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(3) {
        let at = random.below(frame.len());
        match random.below(8) {
            0 => frame.truncate(at),
            1 => frame.insert(at, random.next() as u8),
            2 if !frame.is_empty() => drop(frame.remove(at)),
            3 => {
                let from = random.below(other.len());
                let size = random.below(40).min(other.len() - from).min(frame.len() - at);
                frame[at..at + size].copy_from_slice(&other[from..from + size]);
            }
            4 if frame.len() > 13 => {
                let size = (frame.len() - 13).saturating_sub(random.below(130)) as u32; // another place where the proof begins
                frame[9..13].copy_from_slice(&size.to_be_bytes());
            }
            _ if !frame.is_empty() => frame[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
}

struct Echo<'a>(&'a Request<'a>);

impl Executor for Echo<'_> {
    type Failure = std::convert::Infallible;

    fn execute(&mut self, place: usize, state: &[u8]) -> Result<Ran, Self::Failure> {
        let call = &self.0.calls[place];
        let answer = [b"v", call.arguments].concat();
        Ok((
            answer,
            (call.method != "get").then(|| [state, call.arguments].concat()),
        ))
    }
}

/// The frame that the parts of a request stand for.
fn written(request: &Request) -> Vec<u8> {
    let mut operation = Vec::new();
    operation.put_array(4);
    operation.put_array(1);
    operation.put_text(request.object_id);
    operation.put_array(request.calls.len());
    for call in &request.calls {
        operation.put_array(4);
        operation.put_binary(call.id);
        operation.put_time(call.since);
        operation.put_text(call.method);
        operation.put_binary(call.arguments);
    }
    operation.put_binary(request.code);
    operation.put_unsigned(request.attempt);
    let mut body = Vec::new();
    body.put_array(3);
    body.put_text(request.object_id);
    body.put_array(1);
    body.put_array(3);
    body.put_text(request.object_id);
    body.put_array(1);
    body.put_binary(request.history);
    body.put_binary(request.holders);
    body.put_binary(&operation);
    let mut frame = vec![1];
    frame.extend(request.number.to_be_bytes());
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame.extend_from_slice(request.proof);
    frame
}

/// Whether the frame was taken.
fn work_out(case: &Case, frame: &[u8]) -> bool {
    let Ok(request) = Request::read(frame, case.n) else {
        return false;
    };
    assert_eq!(written(&request), frame, "what is read is canonical");
    let own = Own {
        history: &case.history,
        last_at: case.last_at,
        latest: &case.latest,
        macs: &case.macs,
    };
    if !ordinary::is_ordinary(&request, &own, &case.client, case.n, case.n - 1) {
        return false;
    }
    let (timestamp, time) = ordinary::timestamp_of(&request, &own, &case.client).expect("time is left");
    let version = Version {
        number: case.number,
        horizon: case.times.0,
        orphaned: case.times.1,
        state: &case.parts[0],
        outcomes: Vec::new(),
        ring_entries: &case.parts[1],
        ring_answers: &case.parts[2],
        recent: &case.parts[3],
        recent_answers: &case.parts[4],
    };
    let Ok(done) = ordinary::run(&mut Echo(&request), &case.client, &request.calls, &version, false);
    let authenticator = &case.macs[..case.n * MAC_BYTES];
    if let Some((state, outcomes)) = &done.made {
        let next = version.append(time, outcomes).expect("a ring of a real version");
        let (history, last_at) = ordinary::next_history(request.object_id, &own, &timestamp);
        assert!(last_at < history.len() && timestamp > case.latest);
        let told = ordinary::version_digest(&next, state, outcomes);
        ordinary::reply_to(request.number, &done, &timestamp, &told, &history, authenticator);
    }
    assert_eq!(request.history, case.history, "only on what the server holds");
    true
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|each| each.parse::<u64>().expect("a number"));
    let (count, seed) = (
        arguments.next().unwrap_or(1_000_000),
        arguments.next().unwrap_or(1),
    );
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(corpus)
        .expect("a corpus")
        .map(|each| each.unwrap().path())
        .collect();
    paths.sort();
    let cases: Vec<Case> = (paths.iter())
        .map(|path| {
            read_case(&std::fs::read(path).unwrap()).unwrap_or_else(|_| panic!("{path:?} is no case"))
        })
        .collect();
    let (mut random, mut taken, mut read) = (Random(seed), 0u64, 0u64);
    for case in &cases {
        assert!(
            work_out(case, &case.frame),
            "a frame of the corpus is taken as it is"
        );
    }
    for _ in 0..count {
        let case = &cases[random.below(cases.len())];
        let other = &cases[random.below(cases.len())].frame;
        let mut frame = case.frame.clone();
        spoil(&mut random, &mut frame, other);
        read += u64::from(Request::read(&frame, case.n).is_ok());
        taken += u64::from(work_out(case, &frame));
    }
    println!(
        "{count} spoilt frames of {}: {read} could be read, {taken} were taken",
        cases.len()
    );
}
