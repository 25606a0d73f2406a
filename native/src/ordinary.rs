//! What an ordinary request comes to (`protocol/server/ordinary.py`): bytes in, a decision out, nothing changed.

use crate::digests::{DIGEST_BYTES, MAC_BYTES, are_equal, digest};
use crate::limits::ANSWERS_BYTES_MAX;
use crate::planted::is_planted;
use crate::request::{Call, Request};
use crate::ring::{Next, Outcomes, Version};
use crate::wire::Writer;

pub const TIMESTAMP_BYTES: usize = 97;
const TIME_BYTES: usize = 16;
pub const CLIENT_BYTES: usize = 16;
const SERVER: &[u8] = b"fivefold-server";

const SUCCESS: u64 = 0;
const UNCHANGED: u64 = 4;
const UNABLE: u64 = 5;
const REPLY: u8 = 2;

const STOPPED: u8 = b's';
const CANCELLED: &[u8] = b"c";
const NOT_RUN: &[u8] = b"n";

/// An answer, and the new state if one is to be written.
pub type Ran = (Vec<u8>, Option<Vec<u8>>);

/// What runs the calls. `Failure` is an exception of Python's.
pub trait Executor {
    type Failure;
    fn execute(&mut self, place: usize, state: &[u8]) -> Result<Ran, Self::Failure>;
}

/// The replica of the object, as far as it is needed before anything is run.
pub struct Own<'a> {
    pub history: &'a [u8],
    /// Where its last entry begins.
    pub last_at: usize,
    pub latest: &'a [u8],
    /// The authenticator, and then what the servers sign for this one.
    pub macs: &'a [u8],
}

/// Whether the request is conditioned on this very history, signed by q servers.
pub fn is_ordinary(request: &Request, own: &Own, client: &[u8], n: usize, q: usize) -> bool {
    let q = if is_planted("quorum") { q - 1 } else { q };
    (request.history == own.history || is_planted("history"))
        && request.holders_count() >= q
        && client.len() == CLIENT_BYTES
        && !client.starts_with(SERVER)
        && own.latest.len() == TIMESTAMP_BYTES
        && own.last_at < own.history.len()
        && (is_proven(request, own.macs, n) || is_planted("proof"))
}

/// Whether the proof is what the holders of the history sign for this server.
fn is_proven(request: &Request, macs: &[u8], n: usize) -> bool {
    let (_, expected) = macs.split_at(n * MAC_BYTES);
    let signed = expected
        .chunks_exact(MAC_BYTES)
        .zip(request.holders)
        .filter(|(_, holder)| **holder == 1);
    let expected: Vec<u8> = signed.flat_map(|(mac, _)| mac).copied().collect();
    if is_planted("half") {
        return are_equal(
            &request.proof[..request.proof.len() / 2],
            &expected[..request.proof.len() / 2],
        );
    }
    are_equal(request.proof, &expected)
}

/// The timestamp of the candidate, and its time.
pub fn timestamp_of(request: &Request, own: &Own, client: &[u8]) -> Option<(Vec<u8>, u128)> {
    let time = own.latest[..TIME_BYTES]
        .iter()
        .fold(0, |time, byte| time << 8 | u128::from(*byte))
        .checked_add(1)?;
    let mut timestamp = Vec::with_capacity(TIMESTAMP_BYTES);
    timestamp.extend(time.to_be_bytes());
    timestamp.push(0);
    timestamp.extend_from_slice(client);
    timestamp.extend(digest(&[if is_planted("operation") {
        request.code
    } else {
        request.operation
    }]));
    let sets = if is_planted("sets") {
        request.history
    } else {
        request.target_and_sets
    };
    timestamp.extend(digest(&[b"\x92", sets]));
    Some((timestamp, time))
}

/// What an operation did.
pub struct Done {
    pub answers: Vec<Vec<u8>>,
    pub status: u64,
    /// The new state and the calls to be remembered with it; None if nothing is to be written.
    pub made: Option<(Vec<u8>, Outcomes)>,
}

fn key_of(client: &[u8], call: &Call) -> Vec<u8> {
    [client, if call.is_cancel() { call.arguments } else { call.id }].concat()
}

/// `execution.execute_alone`: the calls in order, each on what the one before it left.
pub fn run<E: Executor>(
    executor: &mut E,
    client: &[u8],
    calls: &[Call],
    version: &Version,
    is_query: bool,
) -> Result<Done, E::Failure> {
    let mut answers: Vec<Vec<u8>> = Vec::with_capacity(calls.len());
    let mut fresh: Outcomes = Vec::new();
    let mut changed: Option<Vec<u8>> = None;
    let (mut has_changed, mut room) = (false, ANSWERS_BYTES_MAX);
    for (place, call) in calls.iter().enumerate() {
        let key = key_of(client, call);
        let recalled = if is_query {
            None
        } else {
            version.recall(&key, call.since)
        };
        let answer = match recalled {
            Some(answer) => answer.to_vec(),
            None if call.is_cancel() => {
                fresh.push((key, CANCELLED.to_vec()));
                has_changed = true;
                CANCELLED.to_vec()
            }
            None if room == 0 => NOT_RUN.to_vec(),
            None => {
                let state = changed.as_deref().unwrap_or(version.state);
                let (answer, next) = executor.execute(place, state)?;
                if answer.first() == Some(&STOPPED) && !is_planted("stopped") {
                    return Ok(Done {
                        answers: vec![answer],
                        status: UNABLE,
                        made: None,
                    });
                }
                if answer.len() > room {
                    room = 0; // what it did is dropped: neither its state nor its answer is taken
                    NOT_RUN.to_vec()
                } else {
                    if answer != NOT_RUN {
                        fresh.push((key, answer.clone()));
                        if next.is_some() {
                            has_changed = true;
                            changed = next;
                        }
                    }
                    answer
                }
            }
        };
        room = room.saturating_sub(answer.len());
        answers.push(answer);
    }
    let is_made = (has_changed || (is_planted("unchanged") && !fresh.is_empty())) && !is_query;
    let made = is_made.then(|| (changed.unwrap_or_else(|| version.state.to_vec()), fresh));
    let status = match answers.first().and_then(|answer| answer.first()) {
        Some(&STOPPED) if !is_made => UNABLE,
        _ if is_made || is_query => SUCCESS,
        _ => UNCHANGED,
    };
    Ok(Done {
        answers,
        status,
        made,
    })
}

/// The history that accepting a candidate leaves: the last entry and the new one; and where the new one begins.
pub fn next_history(object_id: &str, own: &Own, timestamp: &[u8]) -> (Vec<u8>, usize) {
    let last = &own.history[if is_planted("prune") { 1 } else { own.last_at }..];
    let mut history = Vec::with_capacity(last.len() + object_id.len() + 2 * TIMESTAMP_BYTES + 16);
    history.push(0x92);
    history.extend_from_slice(last);
    let last_at = history.len();
    history.put_array(2);
    history.put_array(2);
    history.put_binary(timestamp);
    history.put_array(1);
    history.put_array(3);
    history.put_text(object_id);
    history.put_binary(if is_planted("base") { timestamp } else { own.latest });
    history.extend(b"\xc0\xc2"); // no base of a copy; not settled
    (history, last_at)
}

/// `history.history_digest`: what authenticators are over.
pub fn history_digest(object_id: &str, history: &[u8]) -> [u8; DIGEST_BYTES] {
    let size = (object_id.len() as u16).to_be_bytes();
    let name = if is_planted("reused") {
        b""
    } else {
        object_id.as_bytes()
    };
    digest(&[&size, name, history])
}

/// `versions.version_digest` of the version made.
pub fn version_digest(next: &Next, state: &[u8], outcomes: &[(Vec<u8>, Vec<u8>)]) -> [u8; DIGEST_BYTES] {
    let mut told = Vec::with_capacity(state.len() + 128);
    told.put_array(3);
    told.put_unsigned(next.number);
    told.put_binary(if is_planted("state") { b"" } else { state });
    told.put_array(outcomes.len());
    for (key, answer) in outcomes {
        told.put_array(2);
        told.put_binary(key);
        told.put_binary(answer);
    }
    digest(&[&told])
}

/// The reply frame (`ordinary.reply_to`).
pub fn reply_to(
    number: u64,
    done: &Done,
    timestamp: &[u8],
    made: &[u8],
    history: &[u8],
    authenticator: &[u8],
) -> Vec<u8> {
    let mut vote = Vec::with_capacity(history.len() + 256);
    vote.put_array(6);
    vote.put_unsigned(done.status);
    vote.put_binary(timestamp);
    vote.put_array(done.answers.len());
    for answer in &done.answers {
        vote.put_binary(answer);
    }
    vote.put_binary(made);
    vote.put_array(1);
    vote.put_binary(history);
    vote.put_array(0);
    let mut frame = Vec::with_capacity(13 + vote.len() + authenticator.len());
    frame.push(REPLY);
    frame.extend(number.to_be_bytes());
    frame.extend((vote.len() as u32).to_be_bytes());
    frame.extend(vote);
    frame.extend_from_slice(authenticator);
    frame
}
