//! What a version remembers of calls (`protocol/server/versions.py`): exactly once, PROTOCOL §6.

use crate::digests::digest;
use crate::limits::{RING_ANSWER_BYTES_MAX, RING_ENTRIES, RING_RECENT};
use crate::planted::is_planted;
use crate::wire::Writer;

const KEY_BYTES: usize = 32;
const CLIENT_BYTES: usize = 16;
const TIME_END: usize = KEY_BYTES + 16;
const STRIDE: usize = TIME_END + 2;
const DIGEST: u8 = b'd';
pub const FORGOTTEN: &[u8] = b"f";

/// A call of the operation that made a version: its ring key and its whole answer.
pub struct Recorded<'a> {
    pub key: &'a [u8],
    pub answer: &'a [u8],
}

/// Ring keys and whole answers of the calls that are to be remembered.
pub type Outcomes = Vec<(Vec<u8>, Vec<u8>)>;

/// A version, as Python holds it.
pub struct Version<'a> {
    pub number: u64,
    pub horizon: u128,
    pub orphaned: u128,
    pub state: &'a [u8],
    pub outcomes: Vec<Recorded<'a>>,
    pub ring_entries: &'a [u8],
    pub ring_answers: &'a [u8],
    pub recent: &'a [u8],
    pub recent_answers: &'a [u8],
}

/// A ring made anew.
#[derive(Debug, PartialEq, Eq)]
pub struct Ring {
    pub name: [u8; 32],
    pub entries: Vec<u8>,
    pub answers: Vec<u8>,
}

/// What the next version remembers; `ring` is None if it shares that of the version before.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    pub number: u64,
    pub horizon: u128,
    pub orphaned: u128,
    pub ring: Option<Ring>,
    pub recent: Vec<u8>,
    pub recent_answers: Vec<u8>,
}

fn entries_of(entries: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    entries.chunks_exact(STRIDE)
}

fn time_of(entry: &[u8]) -> u128 {
    entry[KEY_BYTES..TIME_END]
        .iter()
        .fold(0, |time, byte| time << 8 | u128::from(*byte))
}

fn length_of(entry: &[u8]) -> usize {
    usize::from(entry[TIME_END]) << 8 | usize::from(entry[TIME_END + 1])
}

fn recorded<'a>(entries: &[u8], answers: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut start = 0;
    for entry in entries_of(entries) {
        let length = length_of(entry);
        if entry.starts_with(key) {
            return answers.get(start..start + length);
        }
        start += length;
    }
    None
}

impl<'a> Version<'a> {
    /// `find_answer`
    fn find_answer(&self, key: &[u8]) -> Option<&'a [u8]> {
        if is_planted("ring") {
            return None;
        }
        if let Some(outcome) = self.outcomes.iter().find(|outcome| outcome.key == key) {
            return Some(outcome.answer);
        }
        recorded(self.ring_entries, self.ring_answers, key)
            .or_else(|| recorded(self.recent, self.recent_answers, key))
    }

    /// `can_tell`
    fn can_tell(&self, key: &[u8], since: u128) -> bool {
        if self.horizon <= since {
            return true;
        }
        let of_client = entries_of(self.ring_entries).find(|entry| entry.starts_with(&key[..CLIENT_BYTES]));
        of_client.map_or(self.orphaned, time_of) <= since
    }

    /// `recall`: the call's answer, FORGOTTEN, or None: certainly not applied up to here.
    pub fn recall(&self, key: &[u8], since: u128) -> Option<&'a [u8]> {
        let answer = self.find_answer(key);
        if answer.is_none() && !self.can_tell(key, since) && !is_planted("forgotten") {
            return Some(FORGOTTEN);
        }
        answer
    }

    /// `append_outcomes`
    pub fn append(&self, time: u128, outcomes: &[(Vec<u8>, Vec<u8>)]) -> Option<Next> {
        let (mut recent, mut answers) = (self.recent.to_vec(), self.recent_answers.to_vec());
        for (key, answer) in outcomes {
            recent.extend_from_slice(key);
            recent.extend(time.to_be_bytes());
            if answer.len() <= RING_ANSWER_BYTES_MAX {
                recent.extend((answer.len() as u16).to_be_bytes());
                answers.extend_from_slice(answer);
            } else {
                recent.extend(33u16.to_be_bytes());
                answers.push(DIGEST);
                answers.extend(digest(&[answer]));
            }
        }
        let number = self.number.checked_add(outcomes.len() as u64)?;
        let (horizon, orphaned) = (self.horizon, self.orphaned);
        if recent.len() < RING_RECENT * STRIDE {
            return Some(Next {
                number,
                horizon,
                orphaned,
                ring: None,
                recent,
                recent_answers: answers,
            });
        }
        let entries = [self.ring_entries, &recent].concat();
        let answers = [self.ring_answers, &answers].concat();
        let (superseded, orphans) = leaving(&entries);
        let greatest = |places: &[usize]| places.iter().map(|at| time_of(&entries[at * STRIDE..])).max();
        let of_orphans = greatest(&orphans).unwrap_or(0);
        let horizon = horizon.max(of_orphans).max(greatest(&superseded).unwrap_or(0));
        let orphaned = orphaned.max(of_orphans);
        let mut gone = [superseded, orphans].concat();
        gone.sort_unstable();
        let ring = Some(without(&gone, &entries, &answers)?);
        Some(Next {
            number,
            horizon,
            orphaned,
            ring,
            recent: Vec::new(),
            recent_answers: Vec::new(),
        })
    }
}

/// `_leaving`: places of superseded calls and of some clients' last ones, of which the ring has too many.
fn leaving(entries: &[u8]) -> (Vec<usize>, Vec<usize>) {
    struct Client<'a> {
        id: &'a [u8],
        newest: u128,
        older: Vec<usize>,
        last: Vec<usize>,
    }
    let mut clients: Vec<Client> = Vec::new();
    for (place, entry) in entries_of(entries).enumerate() {
        let id = &entry[..CLIENT_BYTES];
        let at = clients
            .iter()
            .position(|client| client.id == id)
            .unwrap_or_else(|| {
                let mut from_last = entries_of(entries).rev();
                let newest = from_last.find(|each| each.starts_with(id)).map_or(0, time_of);
                clients.push(Client {
                    id,
                    newest,
                    older: Vec::new(),
                    last: Vec::new(),
                });
                clients.len() - 1
            });
        let client = &mut clients[at];
        if time_of(entry) < client.newest {
            client.older.push(place)
        } else {
            client.last.push(place)
        }
    }
    let entries_max = if is_planted("capacity") {
        RING_ENTRIES - 1
    } else {
        RING_ENTRIES
    };
    let count = clients.len() + clients.iter().map(|client| client.older.len()).sum::<usize>();
    let mut surplus = count.saturating_sub(entries_max);
    let mut superseded = Vec::new();
    while surplus > 0 {
        let most = clients.iter().map(|client| client.older.len()).max().unwrap_or(0);
        if most == 0 {
            break;
        }
        for client in clients
            .iter_mut()
            .filter(|client| client.older.len() == most)
            .take(surplus)
        {
            superseded.push(client.older.remove(0));
            surplus -= 1;
        }
    }
    let mut last: Vec<Vec<usize>> = clients.into_iter().map(|client| client.last).collect();
    last.sort();
    (superseded, last.into_iter().take(surplus).flatten().collect())
}

/// `_ring_without`
fn without(gone: &[usize], entries: &[u8], answers: &[u8]) -> Option<Ring> {
    let (mut kept, mut kept_answers, mut start) = (Vec::new(), Vec::new(), 0);
    for (place, entry) in entries_of(entries).enumerate() {
        let end = start + length_of(entry);
        if gone.binary_search(&place).is_err() {
            kept.extend_from_slice(entry);
            kept_answers.extend_from_slice(answers.get(start..end)?);
        }
        start = end;
    }
    let mut named = Vec::with_capacity(kept.len() + kept_answers.len() + 16);
    named.put_array(2);
    named.put_binary(&kept);
    named.put_binary(&kept_answers);
    Some(Ring {
        name: digest(&[&named]),
        entries: kept,
        answers: kept_answers,
    })
}
