//! The chunks in which a recording is stored: up to 1 MiB of its bytes, as a frame of zstd with a checksum.

use std::io;

use diesel::prelude::Queryable;
use turnkeep_model::RecordingFile;

use crate::base::error::Source;

/// A file is cut at the multiples of this.
pub(crate) const CHUNK_BYTES: u64 = RecordingFile::MAX_CHUNK_BYTES as u64;

/// Of the sample recordings this leaves 14.2 %, level 1 leaves 14.6 % and level 9 13.3 %.
const LEVEL: i32 = 3;

/// A row of `recording_chunks`, without the recording.
#[derive(Clone, PartialEq, Eq, Queryable)]
#[expect(missing_debug_implementations, reason = "contents never show")]
#[expect(clippy::exhaustive_structs, reason = "hidden: for turnkeep-admin")]
pub struct Chunk {
    /// The first byte.
    pub offset: i64,
    /// The number of bytes before they were compressed.
    pub length: i64,
    /// The CRC-32 of those bytes.
    pub checksum: i64,
    /// The bytes as a frame of zstd.
    pub data: Vec<u8>,
}

impl Chunk {
    pub(crate) fn new(offset: u64, bytes: &[u8]) -> io::Result<Self> {
        Ok(Self {
            offset: offset as i64,
            length: bytes.len() as i64,
            checksum: i64::from(crc32fast::hash(bytes)),
            data: zstd::bulk::compress(bytes, LEVEL)?,
        })
    }

    /// Returns the offset of the first byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length).unsigned_abs()
    }

    /// Returns the bytes if they are the ones that were saved. Takes no more memory than the row says, whatever the
    /// frame says.
    ///
    /// # Errors
    /// They are not, or the frame is damaged.
    pub fn bytes(&self) -> Result<Vec<u8>, Source> {
        let length = usize::try_from(self.length)?.min(RecordingFile::MAX_CHUNK_BYTES);
        let bytes = zstd::bulk::decompress(&self.data, length)?;
        let checksum = i64::from(crc32fast::hash(&bytes));
        match (bytes.len() as i64, checksum) == (self.length, self.checksum) {
            true => Ok(bytes),
            false => Err("its checksum is that of something else".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_chunk_is_refused() {
        let chunk = |change: fn(&mut Chunk)| {
            let mut chunk = Chunk::new(7, &b"line of a recording\n".repeat(50)).unwrap();
            change(&mut chunk);
            chunk
        };
        let bytes = chunk(|_| ()).bytes().unwrap();
        assert_eq!(bytes.len(), 1_000);
        assert_eq!(chunk(|_| ()).end(), 1_007);
        let changes: [fn(&mut Chunk); 6] = [
            |it| it.length -= 1,
            |it| it.length += 1,
            |it| it.length = i64::MAX,
            |it| it.length = -1,
            |it| it.checksum ^= 1,
            |it| it.data.truncate(20),
        ];
        for change in changes {
            assert!(chunk(change).bytes().is_err());
        }
        for position in 0..chunk(|_| ()).data.len() {
            let mut chunk = chunk(|_| ());
            chunk.data[position] ^= 0x10;
            // A flipped bit of the header may change nothing of the bytes.
            assert!(chunk.bytes().is_err() || chunk.bytes().unwrap() == bytes);
        }
    }

    /// A frame of a gigabyte of zeros takes 100 KB.
    #[test]
    fn a_hostile_frame_takes_no_memory() {
        let zeros = vec![0; 64 << 20];
        let data = zstd::bulk::compress(&zeros, 1).unwrap();
        let hostile = Chunk {
            offset: 0,
            length: RecordingFile::MAX_CHUNK_BYTES as i64,
            checksum: 0,
            data,
        };
        assert!(hostile.bytes().is_err());
    }
}
