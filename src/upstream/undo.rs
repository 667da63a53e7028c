//! A content coding that nobody asked for, undone as the answer comes.

use bytes::Bytes;

use crate::domain::inflate::{Coding, Inflater};

/// So much is inflated at a time, in bytes,
const STEP: usize = 256;
/// and no more may come out of it: what makes more of so little is no answer.
const MOST: usize = 4 << 20;

/// How much of a header is shown.
const LONGEST_NAME: usize = 100;

/// Undoes the coding of one answer.
#[derive(Debug)]
pub struct Undo {
    inflater: Inflater,
    /// Came, and not inflated yet.
    waiting: Bytes,
    ended: bool,
    done: bool,
}

impl Undo {
    /// Undoes what a `Content-Encoding` names; `None` if there is nothing to undo.
    ///
    /// # Errors
    /// The name of a coding that is not known. Nobody applies two unasked; two could make much work of little.
    pub fn new(header: &str) -> Result<Option<Self>, String> {
        let told = |name: &str| name.chars().take(LONGEST_NAME).collect();
        let codings = Coding::all_of(header).map_err(|name| told(&name))?;
        if codings.len() > 1 {
            return Err(told(header));
        }
        let inflater = Inflater::new(&codings, usize::MAX);
        Ok((!codings.is_empty()).then(|| Self { inflater, waiting: Bytes::new(), ended: false, done: false }))
    }

    /// The next bytes came; `None`: there are no more.
    pub fn feed(&mut self, bytes: Option<Bytes>) {
        match bytes {
            Some(bytes) => self.waiting = bytes,
            None => self.ended = true,
        }
    }

    /// All was handed out.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// It waits for the next bytes.
    pub const fn is_hungry(&self) -> bool {
        self.waiting.is_empty() && !self.ended
    }

    /// Some of what came, inflated; may be empty.
    ///
    /// # Errors
    /// It is not what it is said to be, or a bomb.
    pub fn inflate(&mut self) -> Result<Bytes, String> {
        let mut out = Vec::new();
        let mut take = |piece: &[u8]| {
            out.extend_from_slice(piece);
            if out.len() > MOST { Err(()) } else { Ok(()) }
        };
        let done = if self.waiting.is_empty() {
            self.done = true;
            self.inflater.finish(&mut take)
        } else {
            let step = self.waiting.split_to(STEP.min(self.waiting.len()));
            self.inflater.push(&step, &mut take)
        };
        done.map_err(|e| e.to_string())?;
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_coding_is_undone_and_two_are_not_known() {
        assert!(
            Undo::new("").is_ok_and(|undo| undo.is_none()) && Undo::new("identity").is_ok_and(|undo| undo.is_none())
        );
        assert!(Undo::new("gzip").is_ok_and(|undo| undo.is_some()));
        for header in ["deflate, deflate", "gzip,br", "compress"] {
            assert_eq!(Undo::new(header).err().as_deref(), Some(header));
        }
        assert!(Undo::new(&"gzip,".repeat(1_000)).is_err_and(|told| told.len() <= LONGEST_NAME));
    }
}
