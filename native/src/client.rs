//! The client's ordinary round: one request for q servers, and their replies while these are alike but for their
//! authenticators. What it decides, and why that is safe, stands in `protocol/client/alike.py`; what is not ordinary is
//! given back, with all that was kept of it.

use std::collections::HashMap;

use crate::digests::MAC_BYTES;
use crate::planted::is_planted;
use crate::wire::{Malformed, Read, Reader, Writer};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// Replies to one number begin with the same bytes.
const REPLY_KEY_BYTES: usize = 9;
/// Kind, number, and the length of the body or vote.
const HEAD_BYTES: usize = 13;
const TIMESTAMP_BYTES: usize = 97;
const TIME_BYTES: usize = 16;
const FIELDS_OF_A_VOTE: usize = 6;

const SUCCESS: u8 = 0;
const UNCHANGED: u8 = 4;

// --- requests ---------------------------------------------------------------------------------------------------

/// What is known of one object: the histories of the servers, each distinct one once.
pub struct Set<'a> {
    pub object_id: &'a str,
    pub histories: Vec<&'a [u8]>,
    pub holders: &'a [u8],
}

pub struct Call<'a> {
    pub id: &'a [u8],
    pub since: u128,
    pub method: &'a str,
    pub arguments: &'a [u8],
}

pub struct Operation<'a> {
    pub objects: Vec<&'a str>,
    pub calls: Vec<Call<'a>>,
    pub code: &'a [u8],
}

impl Operation<'_> {
    /// `messages.encode_operation`: each call gets this `since` unless it is 0.
    fn encode(&self, since: u128, attempt: u64) -> Vec<u8> {
        let mut data = Vec::with_capacity(256);
        data.put_array(4);
        data.put_array(self.objects.len());
        for name in &self.objects {
            data.put_text(name);
        }
        data.put_array(self.calls.len());
        for call in &self.calls {
            data.put_array(4);
            data.put_binary(call.id);
            data.put_time(if since == 0 || is_planted("client-since") {
                call.since
            } else {
                since
            });
            data.put_text(call.method);
            data.put_binary(call.arguments);
        }
        data.put_binary(self.code);
        data.put_unsigned(attempt);
        data
    }
}

/// What the frames of an operation's request to all servers begin with; each server's own column follows.
pub fn request_head(number: u64, sets: &[Set], operation: &Operation, since: u128, attempt: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(1024);
    data.push(REQUEST);
    data.extend(number.to_be_bytes());
    data.extend([0; 4]);
    data.put_array(3);
    data.put_text(sets.first().map_or("", |each| each.object_id));
    data.put_array(sets.len());
    for each in sets {
        data.put_array(3);
        data.put_text(each.object_id);
        data.put_array(each.histories.len());
        for history in &each.histories {
            data.put_binary(history);
        }
        data.put_binary(each.holders);
    }
    data.put_binary(&operation.encode(since, attempt));
    let size = (data.len() - HEAD_BYTES) as u32; // far below 4 GiB: a frame has 16 MiB at most
    data[REPLY_KEY_BYTES..HEAD_BYTES].copy_from_slice(&size.to_be_bytes());
    data
}

/// One server's MACs out of authenticators for all n of them, appended: `authenticators.columns`.
pub fn put_column(data: &mut [u8], authenticators: &[u8], n: usize, server: usize) {
    let server = if is_planted("client-column") { 0 } else { server };
    let rows = authenticators.chunks_exact(MAC_BYTES * n);
    for (place, row) in data.chunks_exact_mut(MAC_BYTES).zip(rows) {
        place.copy_from_slice(&row[server * MAC_BYTES..(server + 1) * MAC_BYTES]);
    }
}

// --- replies ----------------------------------------------------------------------------------------------------

/// One round under way: T names it, F is a frame.
pub struct Round<T, F> {
    pub tag: T,
    pub asked: Vec<usize>,
    /// How many objects and calls the request has.
    pub objects: usize,
    pub calls: usize,
    /// The replies so far, by their servers, in the order in which they came.
    pub kept: Vec<(usize, F)>,
    /// Where the authenticators begin in each of them.
    end: usize,
}

/// What all q servers say, where that ends the call.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub status: u8,
    pub answers: Vec<Vec<u8>>,
    /// Logical time of the version that was made; 0 if none was.
    pub time: u128,
    /// Of each object.
    pub histories: Vec<Vec<u8>>,
    /// A 1 for each server that said so.
    pub holders: Vec<u8>,
    /// Of each object the holders' authenticators one after the other, in the order of the servers.
    pub rows: Vec<Vec<u8>>,
}

/// What a reply comes to.
pub enum Heard<T, F> {
    /// Nothing is to be done.
    Kept,
    /// It belongs to no round here.
    Unknown(F),
    /// It has to be looked at, after those that the round has kept; the round is given back.
    Other(Round<T, F>, F),
    /// There are as many as are needed, and the round is given back: with what they say, if that is ordinary.
    Enough(Round<T, F>, Option<Shown>),
}

/// The ordinary rounds of one client, by the numbers of their requests.
pub struct Rounds<T, F> {
    n: usize,
    q: usize,
    open: HashMap<u64, Round<T, F>>,
}

impl<T, F: AsRef<[u8]>> Rounds<T, F> {
    pub fn new(n: usize, q: usize) -> Self {
        Rounds {
            n,
            q,
            open: HashMap::new(),
        }
    }

    pub fn open(&mut self, number: u64, tag: T, asked: Vec<usize>, objects: usize, calls: usize) {
        let kept = Vec::with_capacity(self.q);
        self.open.insert(
            number,
            Round {
                tag,
                asked,
                objects,
                calls,
                kept,
                end: 0,
            },
        );
    }

    /// Gives a round back; None if it has been given back already.
    pub fn close(&mut self, number: u64) -> Option<Round<T, F>> {
        self.open.remove(&number)
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A frame of a server, named by its connection.
    pub fn hear(&mut self, server: usize, frame: F) -> Heard<T, F> {
        let Some(number) = number_of(frame.as_ref()) else {
            return Heard::Unknown(frame);
        };
        let number = if is_planted("client-number") {
            *self.open.keys().next().unwrap_or(&number)
        } else {
            number
        };
        let Some(round) = self.open.get_mut(&number) else {
            return Heard::Unknown(frame);
        };
        if !round.keeps(server, frame.as_ref()) {
            return match self.close(number) {
                Some(round) => Heard::Other(round, frame),
                None => Heard::Unknown(frame),
            };
        }
        round.kept.push((server, frame));
        if round.kept.len() + usize::from(is_planted("client-quorum")) < self.q {
            return Heard::Kept;
        }
        let shown = round.shown(self.n); // while the round is still here: a panic in between must not lose it
        self.close(number)
            .map_or(Heard::Kept, |round| Heard::Enough(round, shown.ok()))
    }
}

/// The number that a reply is to.
pub fn number_of(frame: &[u8]) -> Option<u64> {
    let (head, _) = frame.split_first_chunk::<REPLY_KEY_BYTES>()?;
    let (kind, number) = head.split_first_chunk::<1>()?;
    if kind[0] != REPLY && !is_planted("client-kind") {
        return None;
    }
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// Where the authenticators of a reply begin, if its vote looks like SUCCESS or UNCHANGED: `messages.ending_vote_end`.
fn ending_vote_end(frame: &[u8]) -> Option<usize> {
    let size: [u8; 4] = frame.get(REPLY_KEY_BYTES..HEAD_BYTES)?.try_into().ok()?;
    let end = HEAD_BYTES.checked_add(u32::from_be_bytes(size) as usize)?;
    let head = frame.get(HEAD_BYTES..HEAD_BYTES + 2)?;
    let is_ending = head[0] == 0x90 | FIELDS_OF_A_VOTE as u8
        && (head[1] == SUCCESS || head[1] == UNCHANGED || is_planted("client-status"));
    (is_ending && end <= frame.len()).then_some(end)
}

impl<T, F: AsRef<[u8]>> Round<T, F> {
    /// Whether a reply is like those before it, or may be the first of several: `Alike.take`.
    fn keeps(&mut self, server: usize, frame: &[u8]) -> bool {
        if !self.asked.contains(&server) && !is_planted("client-stranger") {
            return false; // a liar may answer what it was never asked: numbers can be guessed
        }
        let Some((_, first)) = self.kept.first() else {
            let end = if self.asked.len() == 1 && !is_planted("client-alone") {
                None
            } else {
                ending_vote_end(frame)
            };
            self.end = end.unwrap_or(0);
            return end.is_some();
        };
        let first = first.as_ref();
        let like = if is_planted("client-vote") {
            HEAD_BYTES
        } else {
            self.end
        };
        (frame.len() == first.len() || is_planted("client-length") && frame.len() >= self.end)
            && frame[REPLY_KEY_BYTES..like] == first[REPLY_KEY_BYTES..like]
            && (self.kept.iter().all(|(each, _)| *each != server) || is_planted("client-twice"))
    }

    /// What all kept replies say, where it is the good case: one history for each object, an answer for each call,
    /// authenticators of the right length, and nothing that speaks against any server.
    fn shown(&self, n: usize) -> Read<Shown> {
        let (_, frame) = self.kept.first().ok_or(Malformed)?;
        let (head, tail) = frame.as_ref().split_at_checked(self.end).ok_or(Malformed)?;
        let mut reader = Reader::new(head.get(HEAD_BYTES..).ok_or(Malformed)?);
        reader.array_of(FIELDS_OF_A_VOTE)?;
        let status = u8::try_from(reader.unsigned()?).map_err(|_| Malformed)?;
        let candidate = reader.binary()?;
        let calls = if is_planted("client-answers") {
            Reader::new(reader.rest()).array()?
        } else {
            self.calls
        };
        let answers = strings(&mut reader, calls)?;
        let is_made = !reader.binary()?.is_empty() || is_planted("client-time");
        let histories = strings(&mut reader, self.objects)?;
        let culled = reader.array()?;
        if culled > 0 && !is_planted("client-culled") {
            return Err(Malformed);
        }
        for _ in 0..culled {
            reader.unsigned()?;
        }
        if !is_planted("client-rest") {
            reader.end()?;
        }
        let size = MAC_BYTES * n;
        let is_ordinary = candidate.len() == TIMESTAMP_BYTES
            && (histories.iter().all(|history| !history.is_empty()) || is_planted("client-initial"))
            && (tail.len() == size * self.objects || is_planted("client-tails"));
        if !is_ordinary {
            return Err(Malformed);
        }
        let time = Reader::new(candidate)
            .take(TIME_BYTES)?
            .iter()
            .fold(0, |time, byte| time << 8 | u128::from(*byte));
        let mut holders = vec![0; n];
        let mut in_order: Vec<&(usize, F)> = self.kept.iter().collect();
        if !is_planted("client-order") {
            in_order.sort_unstable_by_key(|(server, _)| *server);
        }
        assert!(!is_planted("client-panic"), "a bug on purpose");
        let mut rows = vec![Vec::with_capacity(size * in_order.len()); self.objects];
        for (server, frame) in in_order {
            *holders.get_mut(*server).ok_or(Malformed)? = 1;
            let tail = frame.as_ref().get(self.end..).ok_or(Malformed)?;
            for (row, part) in rows.iter_mut().zip(tail.chunks_exact(size)) {
                row.extend_from_slice(part);
            }
        }
        Ok(Shown {
            status,
            answers,
            time: if is_made { time } else { 0 },
            histories,
            holders,
            rows,
        })
    }
}

/// An array of exactly so many byte strings.
fn strings(reader: &mut Reader, count: usize) -> Read<Vec<Vec<u8>>> {
    reader.array_of(count)?;
    (0..count).map(|_| reader.binary().map(<[u8]>::to_vec)).collect()
}
