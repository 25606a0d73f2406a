//! A request frame, as far as it may be an ordinary one (`protocol/messages.py`): one operation on one object,
//! conditioned on one history. What is not exactly that is `Malformed` here, and Python's to judge.

use crate::limits::{
    ARGUMENTS_BYTES_MAX, CALL_ID_BYTES, CALLS_MAX, CODE_BYTES_MAX, METHOD_BYTES_MAX, OBJECT_ID_BYTES_MAX,
};
use crate::planted::is_planted;
use crate::wire::{Malformed, Read, Reader};

const REQUEST: u8 = 1;
const CANCEL: &str = "";

pub struct Call<'a> {
    pub id: &'a [u8],
    pub since: u128,
    pub method: &'a str,
    pub arguments: &'a [u8],
}

impl Call<'_> {
    pub fn is_cancel(&self) -> bool {
        self.method == CANCEL
    }
}

pub struct Request<'a> {
    pub number: u64,
    pub object_id: &'a str,
    /// The one history of the set, which is not the initial one.
    pub history: &'a [u8],
    /// One byte for each server: 1 if it is shown with the history, 0 if not.
    pub holders: &'a [u8],
    /// Target and sets as they stand in the body.
    pub target_and_sets: &'a [u8],
    pub operation: &'a [u8],
    pub calls: Vec<Call<'a>>,
    pub code: &'a [u8],
    /// A part of the operation's digest, and nothing else.
    pub attempt: u64,
    pub proof: &'a [u8],
}

fn check(is_right: bool) -> Read<()> {
    if is_right { Ok(()) } else { Err(Malformed) }
}

impl<'a> Request<'a> {
    pub fn read(frame: &'a [u8], n: usize) -> Read<Self> {
        let mut reader = Reader::new(frame);
        check(reader.take(1)? == [REQUEST])?;
        let number = reader.number(8)?;
        let size = usize::try_from(reader.number(4)?).map_err(|_| Malformed)?;
        let body = reader.take(size)?;
        let proof = reader.rest();
        let mut reader = Reader::new(body);
        reader.array_of(3)?;
        let start = reader.rest();
        let target = reader.text()?;
        reader.array_of(1)?;
        reader.array_of(3)?;
        let object_id = reader.text()?;
        reader.array_of(1)?;
        let history = reader.binary()?;
        let holders = reader.binary()?;
        let target_and_sets = &start[..start.len() - reader.rest().len()];
        let operation = reader.binary()?;
        if !is_planted("trailing") {
            reader.end()?;
        }
        check(target == object_id && !object_id.is_empty() && object_id.len() <= OBJECT_ID_BYTES_MAX)?;
        check(!history.is_empty() && holders.len() == n)?;
        check(holders.iter().all(|holder| *holder <= 1))?;
        let (calls, code, attempt) = read_operation(operation, object_id)?;
        Ok(Request {
            number,
            object_id,
            history,
            holders,
            target_and_sets,
            operation,
            calls,
            code,
            attempt,
            proof,
        })
    }

    /// How many servers are shown with the history.
    pub fn holders_count(&self) -> usize {
        self.holders.iter().filter(|holder| **holder == 1).count()
    }
}

fn read_operation<'a>(operation: &'a [u8], object_id: &str) -> Read<(Vec<Call<'a>>, &'a [u8], u64)> {
    let mut reader = Reader::new(operation);
    reader.array_of(4)?;
    reader.array_of(1)?;
    let named = reader.text()?;
    check(named == object_id || is_planted("smuggled"))?;
    let count = reader.array()?;
    check((1..=CALLS_MAX).contains(&count))?;
    let mut calls: Vec<Call<'a>> = Vec::with_capacity(count);
    for _ in 0..count {
        let call = read_call(&mut reader)?;
        check(is_planted("twice") || calls.iter().all(|each| each.id != call.id))?;
        calls.push(call);
    }
    let code = reader.binary()?;
    let attempt = reader.unsigned()?;
    reader.end()?;
    check(code.len() <= CODE_BYTES_MAX)?;
    Ok((calls, code, attempt))
}

fn read_call<'a>(reader: &mut Reader<'a>) -> Read<Call<'a>> {
    reader.array_of(4)?;
    let call = Call {
        id: reader.binary()?,
        since: reader.time()?,
        method: reader.text()?,
        arguments: reader.binary()?,
    };
    check(call.id.len() == CALL_ID_BYTES)?;
    check(!call.is_cancel() || call.arguments.len() == CALL_ID_BYTES)?;
    check(call.arguments.len() <= ARGUMENTS_BYTES_MAX && call.method.len() <= METHOD_BYTES_MAX)?;
    Ok(call)
}
