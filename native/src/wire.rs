//! Canonical MessagePack, as `protocol/messages.py` writes and takes it: what the encoder would not have written is
//! refused. Nothing is set aside for what a length promises; a reader only ever hands out pieces of what is there.

/// What cannot be read; why is for the Python machine to find out.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

pub type Read<T> = Result<T, Malformed>;

/// Reads values off the front of some bytes.
pub struct Reader<'a> {
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader { data }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.data
    }

    /// Nothing must be left.
    pub fn end(&self) -> Read<()> {
        if self.data.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    pub fn take(&mut self, size: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.data.split_at_checked(size).ok_or(Malformed)?;
        self.data = rest;
        Ok(taken)
    }

    /// An unsigned number of `size` bytes, big endian.
    pub fn number(&mut self, size: usize) -> Read<u64> {
        Ok(self
            .take(size)?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn head(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    /// A number of `size` bytes that has no shorter form.
    fn long(&mut self, size: usize, least: u64) -> Read<u64> {
        let value = self.number(size)?;
        if value < least { Err(Malformed) } else { Ok(value) }
    }

    /// An array of exactly this many values.
    pub fn array_of(&mut self, length: usize) -> Read<()> {
        if self.array()? == length {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// The head of an array: how many values follow.
    pub fn array(&mut self) -> Read<usize> {
        let length = match self.head()? {
            head @ 0x90..=0x9f => u64::from(head & 0x0f),
            0xdc => self.long(2, 16)?,
            0xdd => self.long(4, 1 << 16)?,
            _ => return Err(Malformed),
        };
        usize::try_from(length).map_err(|_| Malformed)
    }

    /// A byte string.
    pub fn binary(&mut self) -> Read<&'a [u8]> {
        let size = match self.head()? {
            0xc4 => self.number(1)?,
            0xc5 => self.long(2, 1 << 8)?,
            0xc6 => self.long(4, 1 << 16)?,
            _ => return Err(Malformed),
        };
        self.take(usize::try_from(size).map_err(|_| Malformed)?)
    }

    /// A text.
    pub fn text(&mut self) -> Read<&'a str> {
        let size = match self.head()? {
            head @ 0xa0..=0xbf => u64::from(head & 0x1f),
            0xd9 => self.long(1, 32)?,
            0xda => self.long(2, 1 << 8)?,
            0xdb => self.long(4, 1 << 16)?,
            _ => return Err(Malformed),
        };
        let data = self.take(usize::try_from(size).map_err(|_| Malformed)?)?;
        std::str::from_utf8(data).map_err(|_| Malformed)
    }

    /// A number that is not negative and has 64 bits at most.
    pub fn unsigned(&mut self) -> Read<u64> {
        match self.head()? {
            head @ 0x00..=0x7f => Ok(u64::from(head)),
            0xcc => self.long(1, 1 << 7),
            0xcd => self.long(2, 1 << 8),
            0xce => self.long(4, 1 << 16),
            0xcf => self.long(8, 1 << 32),
            _ => Err(Malformed),
        }
    }

    /// A logical time (`protocol/times.py`): a number, or 16 bytes where it has more than 64 bits.
    pub fn time(&mut self) -> Read<u128> {
        if self.data.first() != Some(&0xc4) {
            return self.unsigned().map(u128::from);
        }
        let data: [u8; 16] = self.binary()?.try_into().map_err(|_| Malformed)?;
        let time = u128::from_be_bytes(data);
        if time >> 64 == 0 { Err(Malformed) } else { Ok(time) }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Read<bool> {
        match self.head()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// Whether a `nil` comes next, which is then taken.
    pub fn nil(&mut self) -> bool {
        let is_nil = self.data.first() == Some(&0xc0);
        if is_nil {
            self.data = &self.data[1..];
        }
        is_nil
    }
}

/// Appends values to some bytes, in their canonical form.
pub trait Writer {
    fn put_array(&mut self, length: usize);
    fn put_binary(&mut self, data: &[u8]);
    fn put_text(&mut self, text: &str);
    fn put_unsigned(&mut self, value: u64);
    fn put_time(&mut self, time: u128);
}

fn put_long(data: &mut Vec<u8>, size: usize, heads: [u8; 3]) {
    // Nothing here is longer than a frame: 16 MiB.
    if size < 1 << 8 {
        data.extend([heads[0], size as u8]);
    } else if size < 1 << 16 {
        data.push(heads[1]);
        data.extend((size as u16).to_be_bytes());
    } else {
        data.push(heads[2]);
        data.extend((size as u32).to_be_bytes());
    }
}

impl Writer for Vec<u8> {
    fn put_array(&mut self, length: usize) {
        if length < 16 {
            self.push(0x90 | length as u8);
        } else if length < 1 << 16 {
            self.push(0xdc);
            self.extend((length as u16).to_be_bytes());
        } else {
            self.push(0xdd);
            self.extend((length as u32).to_be_bytes());
        }
    }

    fn put_binary(&mut self, data: &[u8]) {
        put_long(self, data.len(), [0xc4, 0xc5, 0xc6]);
        self.extend_from_slice(data);
    }

    fn put_text(&mut self, text: &str) {
        if text.len() < 32 {
            self.push(0xa0 | text.len() as u8);
        } else {
            put_long(self, text.len(), [0xd9, 0xda, 0xdb]);
        }
        self.extend_from_slice(text.as_bytes());
    }

    fn put_unsigned(&mut self, value: u64) {
        if value < 1 << 7 {
            self.push(value as u8);
        } else if value < 1 << 8 {
            self.extend([0xcc, value as u8]);
        } else if value < 1 << 16 {
            self.push(0xcd);
            self.extend((value as u16).to_be_bytes());
        } else if value < 1 << 32 {
            self.push(0xce);
            self.extend((value as u32).to_be_bytes());
        } else {
            self.push(0xcf);
            self.extend(value.to_be_bytes());
        }
    }

    fn put_time(&mut self, time: u128) {
        match u64::try_from(time) {
            Ok(number) => self.put_unsigned(number),
            Err(_) => self.put_binary(&time.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let sizes = [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536];
        for size in sizes {
            let mut data = Vec::new();
            data.put_array(size);
            data.put_binary(&vec![7; size]);
            data.put_text(&"x".repeat(size));
            let mut reader = Reader::new(&data);
            assert_eq!(reader.array(), Ok(size));
            assert_eq!(reader.binary(), Ok(&vec![7; size][..]));
            assert_eq!(reader.text(), Ok(&"x".repeat(size)[..]));
            assert_eq!(reader.end(), Ok(()));
        }
        for power in 0..64 {
            for value in [(1u64 << power) - 1, 1 << power] {
                let mut data = Vec::new();
                data.put_unsigned(value);
                data.put_time(u128::from(value) << 64 | 5);
                let mut reader = Reader::new(&data);
                assert_eq!(reader.unsigned(), Ok(value));
                assert_eq!(reader.time(), Ok(u128::from(value) << 64 | 5));
                assert_eq!(reader.end(), Ok(()));
            }
        }
    }

    #[test]
    fn longer_forms_than_needed_are_refused() {
        for data in [
            &b"\xcc\x7f"[..],
            b"\xcd\x00\xff",
            b"\xce\x00\x00\xff\xff",
            b"\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
        ] {
            assert_eq!(Reader::new(data).unsigned(), Err(Malformed));
        }
        assert_eq!(Reader::new(b"\xc5\x00\x01a").binary(), Err(Malformed));
        assert_eq!(Reader::new(b"\xc6\x00\x00\x00\x01a").binary(), Err(Malformed));
        assert_eq!(Reader::new(b"\xd9\x01a").text(), Err(Malformed));
        assert_eq!(
            Reader::new(b"\xda\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").text(),
            Err(Malformed)
        );
        assert_eq!(Reader::new(b"\xdc\x00\x01").array(), Err(Malformed));
        assert_eq!(Reader::new(b"\xdd\x00\x00\x00\x10").array(), Err(Malformed));
    }

    #[test]
    fn what_is_cut_off_or_no_text_is_refused() {
        assert_eq!(Reader::new(b"\xc4\x02a").binary(), Err(Malformed));
        assert_eq!(Reader::new(b"\xc6\xff\xff\xff\xff").binary(), Err(Malformed));
        assert_eq!(Reader::new(b"\xa1\xff").text(), Err(Malformed));
        assert_eq!(Reader::new(b"").array(), Err(Malformed));
        assert_eq!(Reader::new(b"\xff").unsigned(), Err(Malformed));
    }
}
